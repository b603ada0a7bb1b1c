/* secret: the token file, and a comparison that tells nothing by how long it takes.
 *
 * The file holds one line: a token of SECRET_TOKEN_BYTES_MIN to SECRET_TOKEN_BYTES_MAX printable characters without
 * blanks. It must be a regular file (not a link), ours, and closed to all others. One that is made here holds
 * SECRET_TOKEN_RANDOM random bytes in hex. */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#define SECRET_TOKEN_BYTES_MIN 32  /* shorter ones could be guessed */
#define SECRET_TOKEN_BYTES_MAX 512 /* the protocol's TOKEN_BYTES_MAX, as a constant for arrays */
#define SECRET_TOKEN_RANDOM    32  /* bytes of chance in a token made here */

/* Reads the token, or makes the file (and the folders above it, mode 0700) when there is none. Two processes at once
 * end up with the same token: the file appears whole or not at all, and the later one reads the earlier one's.
 *
 * 0: the token with its NUL is in ret_token; `bytes` must be more than SECRET_TOKEN_BYTES_MAX. -1: a sentence in error
 * (always terminated) with what to do; it never quotes the file's contents. ret_token is untouched. */
__attribute__((warn_unused_result)) int secret_token_load_or_create(const char *path, char *ret_token, size_t bytes,
								    char *error, size_t error_bytes);

/* Takes as long for a wrong byte at the start as for one at the end; only the lengths show. An empty secret equals
 * nothing, so that one that was never set lets nobody in. */
bool secret_equal(const char *a, size_t an, const char *b, size_t bn);

#endif
