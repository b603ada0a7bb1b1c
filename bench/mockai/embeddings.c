#include "bench/mockai/embeddings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/mockai/embedding_vector.h"
#include "bench/mockai/http.h"
#include "bench/mockai/marker.h"

#define EMBEDDINGS_BYTES_PER_TOKEN 4

struct embeddings_request {
	json_t *root;	     /* owned */
	const char *model;   /* borrowed */
	const json_t *input; /* borrowed: a string, or a list */
	size_t count;
	size_t dimensions;
	bool one; /* the input is one text (or one list of tokens), not a list of them */
	bool base64;
};

/* Everything that the texts of one request steer or add up to. */
struct embeddings_work {
	struct settings settings;
	struct fault_set faults;
	struct buffer body;
	size_t bytes;
};

static bool refuse(struct http_error *e, const char *param, const char *message)
{
	*e = (struct http_error){.status = 400, .param = param};
	(void)snprintf(e->message, sizeof(e->message), "%s", message);
	return false;
}

static bool input_read(struct embeddings_request *q, struct http_error *e)
{
	q->input = json_object_get(q->root, "input");
	q->one = json_is_string(q->input) || json_is_integer(json_array_get(q->input, 0));
	q->count = q->one ? 1 : json_array_size(q->input);
	if (q->count == 0)
		return refuse(e, "input", "'input' must be a string or a list that is not empty.");
	if (q->count > EMBEDDINGS_INPUTS_MAX)
		return refuse(e, "input", "'input' has more than 2048 elements.");
	return true;
}

static bool request_parse(struct embeddings_request *q, const struct provider *p, const struct request *r,
			  const char *deployment, struct http_error *e)
{
	const json_t *dimensions, *format;
	json_error_t error;

	*q = (struct embeddings_request){.dimensions = p->settings.dimensions};
	q->root = json_loadb(r->body.length > 0 ? r->body.data : "", r->body.length, JSON_ALLOW_NUL, &error);
	if (!json_is_object(q->root))
		return refuse(e, NULL, "We could not parse the JSON body of your request.");
	q->model = json_string_value(json_object_get(q->root, "model"));
	if (q->model == NULL || *q->model == '\0')
		q->model = deployment;
	if (q->model == NULL)
		return refuse(e, "model", "you must provide a model parameter");
	dimensions = json_object_get(q->root, "dimensions");
	if (dimensions != NULL &&
	    (json_integer_value(dimensions) < 1 || json_integer_value(dimensions) > SETTINGS_COUNT_MAX))
		return refuse(e, "dimensions", "'dimensions' must be a whole number from 1 to 8192.");
	if (dimensions != NULL)
		q->dimensions = (size_t)json_integer_value(dimensions);
	format = json_object_get(q->root, "encoding_format");
	q->base64 = json_is_string(format) && strcmp(json_string_value(format), "base64") == 0;
	if (format != NULL && !q->base64 &&
	    (!json_is_string(format) || strcmp(json_string_value(format), "float") != 0))
		return refuse(e, "encoding_format", "'encoding_format' must be float or base64.");
	return input_read(q, e);
}

/* One element of the input as text: itself, or its tokens written as words. */
static bool text_read(const json_t *input, struct buffer *ret_text)
{
	const json_t *token;
	size_t i;

	buffer_clear(ret_text);
	if (json_is_string(input)) {
		buffer_append(ret_text, json_string_value(input), json_string_length(input));
		return true;
	}
	if (!json_is_array(input) || json_array_size(input) == 0)
		return false;
	json_array_foreach(input, i, token)
	{
		if (!json_is_integer(token))
			return false;
		buffer_printf(ret_text, "token%" JSON_INTEGER_FORMAT " ", json_integer_value(token));
	}
	return true;
}

static bool data_write(struct embeddings_work *w, struct provider *p, const struct embeddings_request *q,
		       struct http_error *e)
{
	struct buffer text, plain;
	float *vector = buffer_need(NULL, q->dimensions * sizeof(*vector));
	bool ok = true;

	buffer_init(&text, REQUEST_BODY_BYTES_MAX);
	buffer_init(&plain, REQUEST_BODY_BYTES_MAX);
	for (size_t i = 0; i < q->count && ok; i++) {
		const json_t *input = q->one ? q->input : json_array_get(q->input, i);

		if (!text_read(input, &text)) {
			ok = refuse(e, "input", "'input' must hold strings or lists of tokens.");
			break;
		}
		buffer_clear(&plain);
		ok = marker_read(text.length > 0 ? text.data : "", text.length, true, 1, &w->settings, &w->faults,
				 &p->random, &plain, e->message);
		w->bytes += plain.length;
		embedding_vector_of_text(plain.length > 0 ? plain.data : "", plain.length, vector, q->dimensions);
		buffer_printf(&w->body, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i > 0 ? "," : "",
			      i);
		embedding_vector_write(&w->body, vector, q->dimensions, q->base64);
		buffer_byte(&w->body, '}');
	}
	buffer_free(&text);
	buffer_free(&plain);
	free(vector);
	return ok;
}

static bool body_write(struct embeddings_work *w, struct provider *p, const struct embeddings_request *q,
		       struct http_error *e)
{
	size_t tokens;

	buffer_text(&w->body, "{\"object\":\"list\",\"data\":[");
	if (!data_write(w, p, q, e))
		return false;
	tokens = w->bytes / EMBEDDINGS_BYTES_PER_TOKEN + 1;
	buffer_text(&w->body, "],\"model\":");
	buffer_json_string(&w->body, q->model, strlen(q->model));
	buffer_printf(&w->body, ",\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu}}", tokens, tokens);
	p->stats.prompt_tokens += tokens;
	p->stats.embeddings_inputs += q->count;
	return true;
}

static void script_write(struct embeddings_work *w, struct provider *p, const struct request *r, struct script *s)
{
	stats_faults(&p->stats, &w->faults);
	s->latency_ms = latency_sample_ms(&w->settings.embeddings_latency, &p->random);
	s->hold = &p->settings.embeddings_hold;
	if (fault_on(&w->faults, FAULT_HALF_EVENT))
		w->body.length /= 2;
	if (fault_on(&w->faults, FAULT_MALFORMED_SSE))
		memcpy(w->body.data, "}{", 2);
	if (!http_reply_fault(s, r, &w->faults)) {
		http_head(s, r, 200, "application/json",
			  fault_on(&w->faults, FAULT_UNKNOWN_LENGTH) ? HTTP_LENGTH_UNKNOWN : HTTP_LENGTH_KNOWN,
			  w->body.length, "");
		s->wire.overflow |= w->body.overflow;
		script_body(s, w->body.data, w->body.length);
		script_body_end(s);
	}
	http_break(s, &w->faults);
}

void embeddings_answer(struct provider *p, const struct request *r, const char *deployment, struct script *s)
{
	struct embeddings_work w = {.settings = p->settings};
	struct http_error e = {.status = 400};
	struct embeddings_request q;

	p->stats.embeddings++;
	buffer_init(&w.body, SCRIPT_BYTES_MAX);
	fault_rules_draw(&p->settings.embeddings_faults, &p->random, &w.faults);
	if (request_parse(&q, p, r, deployment, &e) && body_write(&w, p, &q, &e)) {
		script_write(&w, p, r, s);
	} else {
		p->stats.refused++;
		http_reply_error(s, r, &e, "");
	}
	buffer_free(&w.body);
	json_decref(q.root);
}
