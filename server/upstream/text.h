/* text: words of a provider on their way into our sentences: cut, clean, and never half a character. Pure. */
#ifndef UPSTREAM_TEXT_H
#define UPSTREAM_TEXT_H

#include "proto/bytes.h"

/* Copies what fits, always terminated; control bytes become spaces; what was cut ends in "…". s must be UTF-8. */
void text_copy(char *ret, size_t size, struct slice s);

/* Letters, digits, '_', '-' and '.' only, and not empty. */
bool text_is_word(struct slice s);

/* True if a byte below 0x20, or 0x7F, is in it: in a header it would end the line. */
bool text_has_control(struct slice s);

#endif
