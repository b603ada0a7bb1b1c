/* bytes: the UTF-8 check and the growing buffer. */
#include "proto/bytes.h"

#include <assert.h>
#include <stdlib.h>

#define BUF_CAP_MIN 256

/* UTF-8 as an automaton whose states are shifts: an entry holds, for each state, the next one in six bits at that
 * state's offset. So a byte costs one shift on the critical path and no branch, whatever the text: 4 KB take under half
 * of their SHA-256, where a look at each character took longer than it. States that are entered are named after what
 * must come next. */
enum utf8_state {
	UTF8_BAD = 0, /* and stays */
	UTF8_START = 6,
	UTF8_ONE = 12, /* continuation bytes */
	UTF8_TWO = 18,
	UTF8_THREE = 24,
	UTF8_A0_BF = 30, /* behind E0: no overlong form */
	UTF8_80_9F = 36, /* behind ED: no surrogate */
	UTF8_90_BF = 42, /* behind F0: no overlong form */
	UTF8_80_8F = 48, /* behind F4: nothing beyond U+10FFFF */
};

/* clang-format off */
#define GO(from, to) ((uint64_t)UTF8_##to << UTF8_##from)
#define CONTINUED    (GO(ONE, START) | GO(TWO, ONE) | GO(THREE, TWO))
static const uint64_t utf8_next[256] = {
	[0x00 ... 0x7F] = GO(START, START),
	[0x80 ... 0x8F] = CONTINUED | GO(80_9F, ONE) | GO(80_8F, TWO),
	[0x90 ... 0x9F] = CONTINUED | GO(80_9F, ONE) | GO(90_BF, TWO),
	[0xA0 ... 0xBF] = CONTINUED | GO(A0_BF, ONE) | GO(90_BF, TWO),
	[0xC2 ... 0xDF] = GO(START, ONE),
	[0xE0]		= GO(START, A0_BF),
	[0xE1 ... 0xEC] = GO(START, TWO),
	[0xED]		= GO(START, 80_9F),
	[0xEE ... 0xEF] = GO(START, TWO),
	[0xF0]		= GO(START, 90_BF),
	[0xF1 ... 0xF3] = GO(START, THREE),
	[0xF4]		= GO(START, 80_8F),
};
/* clang-format on */

#define STEP_BYTES 64

/* In vectors of the compiler's, which become SSE2 or what the machine has: a third of the instructions of words. */
typedef uint64_t vector __attribute__((vector_size(16)));

static bool step_is_ascii(const uint8_t *p)
{
	vector a, b, c, d;

	memcpy(&a, p, 16);
	memcpy(&b, p + 16, 16);
	memcpy(&c, p + 32, 16);
	memcpy(&d, p + 48, 16);
	a = (a | b) | (c | d);
	return ((a[0] | a[1]) & UINT64_C(0x8080808080808080)) == 0;
}

static uint64_t utf8_step(uint64_t state, const uint8_t *p)
{
	/* By four: gcc 12 does not unroll at -O2, and takes twice as long. */
	for (size_t i = 0; i < STEP_BYTES; i += 4) {
		state = utf8_next[p[i]] >> (state & 63);
		state = utf8_next[p[i + 1]] >> (state & 63);
		state = utf8_next[p[i + 2]] >> (state & 63);
		state = utf8_next[p[i + 3]] >> (state & 63);
	}
	return state;
}

bool slice_is_utf8(struct slice s)
{
	uint64_t state = UTF8_START;
	size_t i = 0;

	for (; s.n - i >= STEP_BYTES; i += STEP_BYTES) {
		if ((state & 63) != UTF8_START || !step_is_ascii(s.p + i))
			state = utf8_step(state, s.p + i);
	}
	for (; i < s.n; i++)
		state = utf8_next[s.p[i]] >> (state & 63);
	return (state & 63) == UTF8_START;
}

void *mem_resize(const struct mem *mem, void *p, size_t size)
{
	if (mem != NULL)
		return mem->resize(mem->owner, p, size);
	if (size == 0) {
		free(p);
		return NULL;
	}
	return realloc(p, size);
}

void mem_free(const struct mem *mem, void *p)
{
	if (p != NULL)
		mem_resize(mem, p, 0);
}

void buf_init(struct buf *b, size_t max, const struct mem *mem) { *b = (struct buf){.max = max, .mem = mem}; }

void buf_free(struct buf *b)
{
	mem_free(b->mem, b->p);
	b->p = NULL;
	b->n = 0;
	b->cap = 0;
}

bool buf_reserve(struct buf *b, size_t n)
{
	assert(b->n <= b->max);
	if (n > b->max - b->n)
		return false;
	if (b->n + n <= b->cap)
		return true;

	size_t cap = b->cap < BUF_CAP_MIN / 2 ? BUF_CAP_MIN : b->cap > b->max / 2 ? b->max : 2 * b->cap;

	if (cap > b->max)
		cap = b->max;
	if (cap < b->n + n)
		cap = b->n + n;

	uint8_t *p = mem_resize(b->mem, b->p, cap);

	if (p == NULL)
		return false;
	b->p = p;
	b->cap = cap;
	return true;
}

bool buf_append_str(struct buf *b, const char *s) { return buf_append(b, s, strlen(s)); }

void buf_consume(struct buf *b, size_t n)
{
	assert(n <= b->n);
	if (n == 0)
		return;
	b->n -= n;
	memmove(b->p, b->p + n, b->n);
}
