/* digest: the parts of a request, each hashed in canonical form, and the hash over their hashes.
 *
 * OpenSSL's objects are fetched once: a fetch for each hash costs 0.2 us. What most requests share is not hashed again:
 * the digest of the last header, of no tools and of no params. The text of a prompt is hashed where it stands, between
 * the bytes that make it a message. */
#include "proto/digest.h"
#include "proto/canonical_internal.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADER_MEMO_BYTES  640			 /* all header fields at their limits, with their lengths */
#define SCRATCH_BYTES_MAX  (2 * FRAME_BYTES_MAX) /* of the canonical form: a float 32 becomes a float 64 */
#define GATHER_BYTES	   256
#define WHOLE_PARTS	   16
#define SCRATCH_BYTES_KEPT 65536 /* what a longer message added is given back */

/* What stands before and behind the text in the canonical form of {"content": text, "role": …}. */
/* clang-format off */
#define TEXT_BEGIN  "\x82" "\xA7" "content"
#define ROLE_USER   "\xA4" "role" "\xA4" "user"
#define ROLE_SYSTEM "\xA4" "role" "\xA6" "system"
/* clang-format on */

struct digester {
	EVP_MD *sha256;
	EVP_MD_CTX *part;				/* one message, tools, params or header */
	EVP_MD_CTX *whole;				/* over the digests of the parts */
	uint8_t parts[WHOLE_PARTS][PROTO_DIGEST_BYTES]; /* on their way into whole */
	size_t parts_count;
	struct buf scratch;
	uint8_t no_tools[PROTO_DIGEST_BYTES];
	uint8_t no_params[PROTO_DIGEST_BYTES];
	uint8_t memo_header[HEADER_MEMO_BYTES]; /* the last header and its digest */
	size_t memo_n;
	uint8_t memo_digest[PROTO_DIGEST_BYTES];
};

/* Both contexts know their algorithm from digester_new on; naming it again would free and allocate OpenSSL's state
 * (1,650 instructions). */
static bool sha_begin(EVP_MD_CTX *ctx) { return EVP_DigestInit_ex2(ctx, NULL, NULL) == 1; }
static bool sha_add(EVP_MD_CTX *ctx, const void *p, size_t n) { return n == 0 || EVP_DigestUpdate(ctx, p, n) == 1; }
static bool sha_end(EVP_MD_CTX *ctx, uint8_t *ret) { return EVP_DigestFinal_ex(ctx, ret, NULL) == 1; }

/* Short parts are gathered first: an update of OpenSSL's costs as much as the hashing of 50 bytes. */
static bool sha_of(struct digester *d, const struct slice *parts, size_t count, uint8_t *ret)
{
	uint8_t gathered[GATHER_BYTES];
	size_t n = 0;

	if (!sha_begin(d->part))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (parts[i].n > sizeof(gathered) - n) {
			if (!sha_add(d->part, gathered, n))
				return false;
			n = 0;
		}
		if (parts[i].n > sizeof(gathered)) {
			if (!sha_add(d->part, parts[i].p, parts[i].n))
				return false;
		} else if (parts[i].n > 0) {
			memcpy(gathered + n, parts[i].p, parts[i].n);
			n += parts[i].n;
		}
	}
	return sha_add(d->part, gathered, n) && sha_end(d->part, ret);
}

/* The digest of one more part. */
static bool whole_add(struct digester *d, const uint8_t digest[PROTO_DIGEST_BYTES])
{
	if (d->parts_count == WHOLE_PARTS) {
		if (!sha_add(d->whole, d->parts, sizeof(d->parts)))
			return false;
		d->parts_count = 0;
	}
	memcpy(d->parts[d->parts_count++], digest, PROTO_DIGEST_BYTES);
	return true;
}

static bool whole_begin(struct digester *d)
{
	d->parts_count = 0;
	return sha_begin(d->whole);
}

static bool whole_end(struct digester *d, uint8_t *ret)
{
	return sha_add(d->whole, d->parts, d->parts_count * sizeof(d->parts[0])) && sha_end(d->whole, ret);
}

int digest_parts(struct digester *d, const struct slice *parts, size_t count, uint8_t ret_digest[PROTO_DIGEST_BYTES])
{
	return sha_of(d, parts, count, ret_digest) ? 0 : -1;
}

struct digester *digester_new(void)
{
	const struct slice empty_array = slice_str("\x90"), empty_map = slice_str("\x80");
	struct digester *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	buf_init(&d->scratch, SCRATCH_BYTES_MAX, NULL);
	d->sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
	d->part = EVP_MD_CTX_new();
	d->whole = EVP_MD_CTX_new();
	if (d->sha256 == NULL || d->part == NULL || d->whole == NULL ||
	    EVP_DigestInit_ex(d->part, d->sha256, NULL) != 1 || EVP_DigestInit_ex(d->whole, d->sha256, NULL) != 1 ||
	    !sha_of(d, &empty_array, 1, d->no_tools) || !sha_of(d, &empty_map, 1, d->no_params)) {
		digester_free(d);
		return NULL;
	}
	return d;
}

void digester_free(struct digester *d)
{
	if (d == NULL)
		return;
	EVP_MD_CTX_free(d->whole);
	EVP_MD_CTX_free(d->part);
	EVP_MD_free(d->sha256);
	buf_free(&d->scratch);
	free(d);
}

static int fault_hash(struct fault *fault)
{
	return fault_set(fault, ERR_NO_MEMORY, "", "there is no memory to compute the digest");
}

/* ---- what the request must be */

static int given_empty(struct slice s, bool given, const char *field, const char *help, struct fault *fault)
{
	if (given && s.n == 0)
		return fault_set(fault, ERR_INVALID, field, "%s is empty: %s", field, help);
	return 0;
}

static int question_check(const struct request_body *r, struct fault *fault)
{
	bool has_prompt = MESSAGE_HAS(r, REQUEST, prompt), has_messages = MESSAGE_HAS(r, REQUEST, messages);

	if (has_prompt && has_messages)
		return fault_set(fault, ERR_INVALID, "prompt", "give prompt or messages, not both");
	if (!has_prompt && !has_messages)
		return fault_set(fault, ERR_INVALID, "prompt", "prompt is missing: give prompt or messages");
	if (MESSAGE_HAS(r, REQUEST, system) && !has_prompt)
		return fault_set(fault, ERR_INVALID, "system",
				 "system goes with prompt; with messages, make it one of them");
	if (has_messages && r->messages->via.array.size == 0)
		return fault_set(fault, ERR_INVALID, "messages", "messages is empty: give at least one message");
	if (given_empty(r->prompt, has_prompt, "prompt", "there is nothing to answer", fault) < 0 ||
	    given_empty(r->model, MESSAGE_HAS(r, REQUEST, model), "model", "leave it out to get the server's default",
			fault) < 0 ||
	    given_empty(r->namespace, MESSAGE_HAS(r, REQUEST, namespace), "namespace",
			"leave it out to get the namespace default", fault) < 0)
		return -1;
	return 0;
}

/* Parameters of the API that have a place of their own here, or none because they are not about the answer. */
static const struct {
	const char *name;
	const char *help;
} params_elsewhere[] = {
	{"model", "give it as the field model"},
	{"messages", "give it as the field messages"},
	{"tools", "give it as the field tools"},
	{"stream", "give it as the field stream"},
	{"stream_options", "tokens are counted in every END; leave it out"},
	{"user", "it is no part of the answer; put it into the field metadata"},
	{"metadata", "it is no part of the answer; give it as the field metadata"},
};

static int params_check(const msgpack_object_map *m, struct fault *fault)
{
	for (uint32_t i = 0; i < m->size; i++) {
		const msgpack_object_kv *kv = &m->ptr[i];

		if (kv->key.type != MSGPACK_OBJECT_STR || kv->val.type == MSGPACK_OBJECT_NIL)
			continue; /* a key of another type is a fault of the canonical form */
		for (size_t k = 0; k < sizeof(params_elsewhere) / sizeof(params_elsewhere[0]); k++) {
			const char *name = params_elsewhere[k].name;
			char field[sizeof(fault->field)];

			if (!slice_is(slice_of(kv->key.via.str.ptr, kv->key.via.str.size), name))
				continue;
			(void)snprintf(field, sizeof(field), "params.%s", name);
			return fault_set(fault, ERR_INVALID, field, "%s is not a parameter here: %s", name,
					 params_elsewhere[k].help);
		}
	}
	return 0;
}

static int message_check(const msgpack_object *message, const struct value_path *path, struct fault *fault)
{
	const struct value_path role_path = {.up = path, .key = slice_str("role")};
	const struct value_path content_path = {.up = path, .key = slice_str("content")};
	const msgpack_object *role = NULL, *content = NULL;

	if (message->type != MSGPACK_OBJECT_MAP)
		return fault_set_path(fault, ERR_INVALID, path, "must be a map");
	for (uint32_t i = 0; i < message->via.map.size; i++) {
		const msgpack_object_kv *kv = &message->via.map.ptr[i];

		if (kv->key.type != MSGPACK_OBJECT_STR)
			continue; /* a fault of the canonical form */
		if (slice_is(slice_of(kv->key.via.str.ptr, kv->key.via.str.size), "role"))
			role = &kv->val;
		else if (slice_is(slice_of(kv->key.via.str.ptr, kv->key.via.str.size), "content"))
			content = &kv->val;
	}
	if (role == NULL)
		return fault_set_path(fault, ERR_INVALID, &role_path, "is missing");
	if (role->type != MSGPACK_OBJECT_STR || role->via.str.size == 0)
		return fault_set_path(fault, ERR_INVALID, &role_path, "must be a string that is not empty");
	if (content != NULL && content->type != MSGPACK_OBJECT_STR && content->type != MSGPACK_OBJECT_ARRAY &&
	    content->type != MSGPACK_OBJECT_NIL)
		return fault_set_path(fault, ERR_INVALID, &content_path, "must be a string, an array of parts, or nil");
	return 0;
}

/* ---- the parts */

static bool part_add(struct digester *d, const struct slice *parts, size_t count)
{
	uint8_t digest[PROTO_DIGEST_BYTES];

	return sha_of(d, parts, count, digest) && whole_add(d, digest);
}

static void str_header(struct buf_packer *p, struct slice s)
{
	msgpack_pack_str(&p->packer, s.n);
	msgpack_pack_str_body(&p->packer, s.p, s.n);
}

static int header_add(struct digester *d, const struct request_body *r, struct slice default_model, struct fault *fault)
{
	struct buf_packer p;

	d->scratch.n = 0;
	buf_packer_init(&p, &d->scratch);
	msgpack_pack_array(&p.packer, 4);
	msgpack_pack_uint64(&p.packer, DIGEST_CANONICAL_VERSION);
	str_header(&p, MESSAGE_HAS(r, REQUEST, namespace) ? r->namespace : slice_str("default"));
	str_header(&p, MESSAGE_HAS(r, REQUEST, model) ? r->model : default_model);
	str_header(&p, r->prompt_version);

	struct slice header = buf_slice(&d->scratch);

	if (p.failed)
		return fault_hash(fault);
	if (!slice_eq(header, slice_of(d->memo_header, d->memo_n))) {
		d->memo_n = 0;
		if (!sha_of(d, &header, 1, d->memo_digest))
			return fault_hash(fault);
		if (header.n > sizeof(d->memo_header))
			return whole_add(d, d->memo_digest) ? 0 : fault_hash(fault);
		memcpy(d->memo_header, header.p, header.n);
		d->memo_n = header.n;
	}
	return whole_add(d, d->memo_digest) ? 0 : fault_hash(fault);
}

/* The text is not copied. role: ROLE_USER or ROLE_SYSTEM. */
static int text_message_add(struct digester *d, struct slice text, const char *role, struct fault *fault)
{
	struct buf_packer p;

	d->scratch.n = 0;
	buf_packer_init(&p, &d->scratch);
	if (!buf_append_str(&d->scratch, TEXT_BEGIN))
		return fault_hash(fault);
	msgpack_pack_str(&p.packer, text.n);
	if (p.failed)
		return fault_hash(fault);

	const struct slice parts[] = {buf_slice(&d->scratch), text, slice_str(role)};

	return part_add(d, parts, 3) ? 0 : fault_hash(fault);
}

static int value_add(struct digester *d, const msgpack_object *value, const struct value_path *path, bool without_nil,
		     struct fault *fault)
{
	d->scratch.n = 0;
	if (canonical_append_path(&d->scratch, value, path, without_nil, fault) < 0)
		return -1;

	const struct slice part = buf_slice(&d->scratch);

	return part_add(d, &part, 1) ? 0 : fault_hash(fault);
}

static int messages_add(struct digester *d, const struct request_body *r, struct fault *fault)
{
	const struct value_path all = {.key = slice_str("messages")};

	if (MESSAGE_HAS(r, REQUEST, system) && text_message_add(d, r->system, ROLE_SYSTEM, fault) < 0)
		return -1;
	if (MESSAGE_HAS(r, REQUEST, prompt))
		return text_message_add(d, r->prompt, ROLE_USER, fault);

	const msgpack_object_array *messages = &r->messages->via.array;

	for (uint32_t i = 0; i < messages->size; i++) {
		const struct value_path path = {.up = &all, .index = i};

		if (message_check(&messages->ptr[i], &path, fault) < 0 ||
		    value_add(d, &messages->ptr[i], &path, false, fault) < 0)
			return -1;
	}
	return 0;
}

static int tools_add(struct digester *d, const struct request_body *r, struct fault *fault)
{
	const struct value_path path = {.key = slice_str("tools")};

	if (!MESSAGE_HAS(r, REQUEST, tools) || r->tools->via.array.size == 0)
		return whole_add(d, d->no_tools) ? 0 : fault_hash(fault);
	return value_add(d, r->tools, &path, false, fault);
}

static int params_add(struct digester *d, const struct request_body *r, struct fault *fault)
{
	const struct value_path path = {.key = slice_str("params")};

	if (!MESSAGE_HAS(r, REQUEST, params) || r->params->via.map.size == 0)
		return whole_add(d, d->no_params) ? 0 : fault_hash(fault);
	if (params_check(&r->params->via.map, fault) < 0)
		return -1;
	return value_add(d, r->params, &path, true, fault);
}

int request_digest(struct digester *d, const struct request_body *r, struct slice default_model,
		   uint8_t ret_digest[PROTO_DIGEST_BYTES], struct fault *fault)
{
	int rc = question_check(r, fault);

	if (rc == 0 && !whole_begin(d))
		rc = fault_hash(fault);
	if (rc == 0)
		rc = header_add(d, r, default_model, fault);
	if (rc == 0)
		rc = messages_add(d, r, fault);
	if (rc == 0)
		rc = tools_add(d, r, fault);
	if (rc == 0)
		rc = params_add(d, r, fault);
	if (rc == 0 && !whole_end(d, ret_digest))
		rc = fault_hash(fault);
	if (d->scratch.cap > SCRATCH_BYTES_KEPT)
		buf_free(&d->scratch);
	return rc;
}
