"""QUERY, LOOKUP, PUT, INVALIDATE end to end: what comes from where, what is kept, and what END tells."""

import json
import time

import harness
from harness import REASONING, REFUSAL, TEXT, TOOL_CALL


class Reuse:
    """Questions that are asked again, over each transport and each store."""

    def test_a_miss_is_answered_by_the_llm_and_then_from_the_cache(self):
        client, prompt = self.connect(), self.prompt()
        first = self.query(client, prompt, model="gpt-4o")
        second = self.query(client, prompt, model="gpt-4o")
        self.assertEqual((first.source, second.source), ("llm", "exact"))
        self.assertEqual(first.segments, second.segments)
        self.assertIn(prompt, first.text)
        self.assertEqual(self.ai.calls(prompt), 1)

    def test_the_end_of_an_answer_says_what_happened(self):
        client, prompt = self.connect(), self.prompt()
        before = time.time()
        body = self.query(client, prompt, model="gpt-4o").body
        self.assertEqual(harness.REASONS[body["reason"]], "stored")
        self.assertIs(body["stored"], True)
        self.assertEqual((body["finish_reason"], body["model"]), ("stop", "gpt-4o"))
        self.assertGreater(body["prompt_tokens"], 0)
        self.assertGreater(body["completion_tokens"], 0)
        self.assertGreaterEqual(body["as_of"], int(before * 1e6) - 1_000_000)
        self.assertLess(body["as_of"], int((time.time() + 5) * 1e6))
        self.assertNotIn("age_ms", body)
        self.assertNotIn("tokens_saved", body)
        stages = body["stages_us"]
        self.assertLessEqual({"first_byte", "llm", "total"}, set(stages))
        self.assertLessEqual(stages["first_byte"], stages["llm"])
        self.assertLessEqual(stages["llm"], stages["total"])

    def test_the_end_of_a_hit_says_what_it_saved(self):
        client, prompt = self.connect(), self.prompt()
        first = self.query(client, prompt, model="gpt-4o").body
        time.sleep(0.02)
        hit = self.query(client, prompt, model="gpt-4o").body
        self.assertEqual(harness.REASONS[hit["reason"]], "already")
        self.assertIs(hit["stored"], True)
        self.assertEqual(hit["tokens_saved"], first["prompt_tokens"] + first["completion_tokens"])
        price = first["prompt_tokens"] * 2.5 + first["completion_tokens"] * 10  # dollars a million: 1e-6 dollars
        self.assertAlmostEqual(hit["cost_saved_nusd"], price * 1000, delta=1)
        self.assertGreaterEqual(hit["age_ms"], 10)
        self.assertLess(hit["age_ms"], 60_000)
        self.assertEqual(len(hit["entry"]), 32)
        for name in ("finish_reason", "model", "prompt_tokens", "completion_tokens"):
            self.assertEqual(hit[name], first[name])
        self.assertNotIn("llm", hit.get("stages_us", {}))

    def test_streamed_and_whole_answers_share_one_entry(self):
        for asked_first in (True, False):
            client, prompt = self.connect(), self.prompt()
            self.ai.control(answer_bytes=3000, pace="1ms")
            first = self.query(client, prompt, stream=asked_first)
            second = self.query(client, prompt, stream=not asked_first)
            self.assertEqual(bool(first.chunks), asked_first)
            self.assertEqual((first.source, second.source), ("llm", "exact"))
            self.assertEqual(first.text, second.text)
            self.assertEqual(self.ai.calls(prompt), 1)

    def test_a_long_hit_is_streamed_to_who_wants_it_streamed(self):
        client, prompt = self.connect(), self.prompt()
        self.ai.control(answer_bytes=400_000, piece_bytes=8192)
        whole = self.query(client, prompt)
        streamed = self.query(client, prompt, stream=True)
        self.assertEqual(whole.chunks, [])
        self.assertGreater(len(streamed.chunks), 1)
        self.assertEqual(streamed.head["source"], harness.SOURCES.index("exact"))
        self.assertEqual(whole.text, streamed.text)
        self.assertGreaterEqual(len(whole.text), 390_000)

    def test_lookup_never_calls_the_llm(self):
        client, prompt = self.connect(), self.prompt()
        miss = self.lookup(client, prompt)
        self.assertEqual((miss.source, miss.reason, miss.segments), ("none", "miss", []))
        self.assertEqual(self.ai.calls(), 0)
        answer = self.query(client, prompt)
        hit = self.lookup(client, prompt)
        self.assertEqual((hit.source, hit.segments), ("exact", answer.segments))
        self.assertEqual(self.ai.calls(), 1)

    def test_what_is_put_is_served(self):
        client, prompt = self.connect(), self.prompt()
        put = self.end(client.call("PUT", prompt=prompt, answer="Time to live.", prompt_tokens=7, completion_tokens=4))
        self.assertEqual((put.reason, put.body["stored"], len(put.body["entry"])), ("stored", True, 32))
        self.assertIn("as_of", put.body)
        hit = self.query(client, prompt)
        self.assertEqual((hit.source, hit.text, hit.body["finish_reason"]), ("exact", "Time to live.", "stop"))
        self.assertEqual((hit.body["prompt_tokens"], hit.body["completion_tokens"]), (7, 4))
        self.assertEqual(hit.body["entry"], put.body["entry"])
        self.assertEqual(self.ai.calls(), 0)

    def test_a_put_of_segments_comes_back_as_segments(self):
        client, prompt = self.connect(), self.prompt()
        call = json.dumps({"id": "call_1", "name": "look", "arguments": "{}"}).encode()
        segments = [[REASONING, 0, b"Hm."], [TEXT, 1, b"Let me look."], [TOOL_CALL, 2, call]]
        self.end(client.call("PUT", prompt=prompt, segments=segments, finish_reason="tool_calls"))
        hit = self.query(client, prompt)
        self.assertEqual([k for k, _, _ in hit.segments], [REASONING, TEXT, TOOL_CALL])
        self.assertEqual(hit.text, "Let me look.")
        self.assertEqual(json.loads(hit.of(TOOL_CALL))["name"], "look")

    def test_a_put_that_quality_refuses_is_no_error_and_is_not_kept(self):
        client = self.connect()
        for body, reason in (({"answer": "Half of", "finish_reason": "length"}, "unfinished"), ({"answer": " \n"}, "empty")):
            prompt = self.prompt()
            put = self.end(client.call("PUT", prompt=prompt, **body))
            self.assertEqual((put.body["stored"], put.reason), (False, reason))
            self.assertEqual(self.lookup(client, prompt).source, "none")

    def test_an_invalidated_question_is_asked_again(self):
        client, prompt, other = self.connect(), self.prompt(), self.prompt()
        self.query(client, prompt)
        self.query(client, other)
        done = self.end(client.call("INVALIDATE", prompt=prompt))
        self.assertIn("as_of", done.body)
        self.assertEqual(self.lookup(client, prompt).source, "none")
        self.assertEqual(self.lookup(client, other).source, "exact")
        self.assertEqual(self.query(client, prompt).source, "llm")
        self.assertEqual(self.lookup(client, prompt).source, "exact")

    def test_an_invalidated_namespace_forgets_all_of_its_own_and_nothing_else(self):
        client = self.connect()
        prompts = [self.prompt() for _ in range(5)]
        for prompt in prompts:
            self.query(client, prompt, namespace="mine")
            self.query(client, prompt, namespace="other")
        self.end(client.call("INVALIDATE", target=1, namespace="mine"))
        for prompt in prompts:
            self.assertEqual(self.lookup(client, prompt, namespace="mine").source, "none")
            self.assertEqual(self.lookup(client, prompt, namespace="other").source, "exact")

    def test_everything_that_can_change_the_text_makes_another_question(self):
        client, prompt = self.connect(), self.prompt()
        self.query(client, prompt)
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        for change in ({"model": "gpt-4o"}, {"namespace": "n"}, {"prompt_version": "2"}, {"system": "Be brief."},
                       {"params": {"temperature": 0.5}}, {"params": {"unknown_parameter": 1}}, {"tools": [tool]}):
            self.assertEqual(self.lookup(client, prompt, **change).source, "none", change)
        for same in ({"model": "gpt-4o-mini"}, {"params": {}}, {"metadata": {"trace": "1"}}, {"params": {"stop": None}}):
            self.assertEqual(self.lookup(client, prompt, **same).source, "exact", same)

    def test_no_store_keeps_nothing(self):
        client, prompt = self.connect(), self.prompt()
        reply = self.query(client, prompt, no_store=True)
        self.assertEqual((reply.body["stored"], reply.reason), (False, "no_store"))
        self.assertEqual(self.lookup(client, prompt).source, "none")

    def test_no_cache_asks_the_llm_and_replaces(self):
        client, prompt = self.connect(), self.prompt()
        self.end(client.call("PUT", prompt=prompt, answer="An old answer."))
        fresh = self.query(client, prompt, no_cache=True)
        self.assertEqual((fresh.source, self.ai.calls(prompt)), ("llm", 1))
        self.assertEqual(self.lookup(client, prompt).text, fresh.text)

    def test_max_age_passes_over_what_is_older(self):
        client, prompt = self.connect(), self.prompt()
        self.query(client, prompt)
        time.sleep(0.15)
        self.assertEqual(self.lookup(client, prompt, max_age_ms=60_000).source, "exact")
        self.assertEqual(self.lookup(client, prompt, max_age_ms=100).source, "none")
        self.assertEqual(self.query(client, prompt, max_age_ms=100).source, "llm")
        self.assertEqual(self.ai.calls(prompt), 2)
        self.assertEqual(self.lookup(client, prompt, max_age_ms=10_000).source, "exact")

    def test_an_entry_is_served_until_its_ttl_is_over(self):
        client, prompt = self.connect(), self.prompt()
        self.query(client, prompt, ttl_ms=300)
        self.end(client.call("PUT", prompt=prompt + "!", answer="Soon gone.", ttl_ms=300))
        self.assertEqual(self.lookup(client, prompt).source, "exact")
        self.assertEqual(self.lookup(client, prompt + "!").source, "exact")
        time.sleep(0.35)
        self.assertEqual(self.lookup(client, prompt).source, "none")
        self.assertEqual(self.lookup(client, prompt + "!").source, "none")
        self.assertEqual(self.query(client, prompt).source, "llm")

    def test_a_request_without_a_model_gets_the_default_one(self):
        client, prompt = self.connect(), self.prompt()
        self.query(client, prompt)
        self.assertEqual(json.loads(self.ai.last_request()["body"])["model"], "gpt-4o-mini")

    def test_messages_tools_and_parameters_reach_the_llm_as_they_were_sent(self):
        client = self.connect()
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": self.prompt("Grüße, 你好 😀")}]
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
        params = {"temperature": 0.25, "max_tokens": 50, "response_format": {"type": "json_object"}}
        self.end(client.call("QUERY", messages=messages, tools=[tool], params=params, model="gpt-4o"))
        sent = json.loads(self.ai.last_request()["body"])
        self.assertEqual(sent["messages"], messages)
        self.assertEqual(sent["tools"], [tool])
        self.assertEqual({k: sent[k] for k in params}, params)
        self.assertEqual(sent["model"], "gpt-4o")

    def test_a_prompt_and_its_messages_are_one_question(self):
        client, prompt = self.connect(), self.prompt()
        self.query(client, prompt, system="Be brief.")
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]
        self.assertEqual(self.end(client.call("LOOKUP", messages=messages)).source, "exact")

    def test_requests_are_answered_out_of_order(self):
        client, slow, quick = self.connect(), self.prompt("Slow"), self.prompt("Quick")
        self.query(client, quick)
        self.ai.control(hold=True)
        slow_id = client.send("QUERY", prompt=slow)
        self.ai.wait_calls(1, slow)
        self.assertEqual(self.query(client, quick).source, "exact")
        self.ai.control(hold=False)
        self.assertEqual(self.end(client.reply(slow_id)).source, "llm")

    def test_many_requests_in_one_write_get_an_answer_each(self):
        client, prompt = self.connect(), self.prompt()
        self.query(client, prompt)
        ids = list(range(1000, 2000))
        client.raw(b"".join(harness.reference.frame("QUERY", i, {"prompt": prompt}) for i in ids))
        replies = harness.gather({client: ids})
        self.assertEqual({reply.source for reply, _ in replies.values()}, {"exact"})


class Kept:
    """What an answer is made of, and which answers are kept. The store makes no difference here."""

    def twice(self, prompt, **body):
        """The answer, what a second request gets, and how often the provider was asked."""
        client = self.connect()
        first = self.query(client, prompt, **body)
        second = self.lookup(client, prompt)
        return first, second

    def test_tool_calls_are_kept_whole(self):
        for fault, count in (("tool-call", 1), ("tool-calls-2", 2)):
            for stream in (False, True):
                first, hit = self.twice(self.prompt(f"Weather? [[fault:{fault}]]"), stream=stream)
                calls = [json.loads(data) for kind, _, data in first.segments if kind == TOOL_CALL]
                self.assertEqual(len(calls), count)
                for call in calls:
                    self.assertEqual(set(call), {"id", "name", "arguments"})
                    self.assertEqual(call["name"], "get_weather")
                    self.assertIn("city", json.loads(call["arguments"]))
                self.assertEqual((first.body["finish_reason"], first.reason), ("tool_calls", "stored"))
                self.assertEqual(hit.source, "exact")
                kept = [json.loads(data) for kind, _, data in hit.segments if kind == TOOL_CALL]
                self.assertEqual([c["arguments"] for c in kept], [c["arguments"] for c in calls])
                ids = [c["id"] for c in calls + kept]
                self.assertEqual(len(set(ids)), len(ids), "a replay has tool-call ids of its own")

    def test_reasoning_is_a_segment_of_its_own(self):
        for stream in (False, True):
            first, hit = self.twice(self.prompt("Think. [[fault:reasoning]]"), stream=stream)
            self.assertIn("First I look at what is asked", first.of(REASONING))
            self.assertIn("Think.", first.text)
            self.assertNotIn("First I look", first.text)
            self.assertEqual((hit.source, hit.segments), ("exact", first.segments))

    def test_a_refusal_is_a_segment_of_its_own(self):
        for stream in (False, True):
            first, _ = self.twice(self.prompt("Do it. [[fault:refusal]]"), stream=stream)
            self.assertIn("can't assist", first.of(REFUSAL))
            self.assertEqual(first.text, "")

    def test_an_unfinished_answer_is_delivered_as_what_it_is_and_never_stored(self):
        for fault, finish in (("length", "length"), ("content-filter", "content_filter")):
            for stream in (False, True):
                prompt = self.prompt(f"Long [[fault:{fault}]]")
                first, again = self.twice(prompt, stream=stream)
                self.assertTrue(first.text)
                self.assertEqual(first.body["finish_reason"], finish)
                self.assertEqual((first.body["stored"], first.reason, again.source), (False, "unfinished", "none"))

    def test_an_empty_answer_is_delivered_and_never_stored(self):
        first, again = self.twice(self.prompt("Nothing [[fault:empty]]"))
        self.assertEqual((first.text, first.body["finish_reason"]), ("", "stop"))
        self.assertEqual((first.body["stored"], first.reason, again.source), (False, "empty", "none"))

    def test_a_stream_cut_half_way_is_an_error_with_what_was_sent_and_is_never_stored(self):
        for fault in ("cut", "reset", "half-event", "malformed-sse", "error-in-stream"):
            client, prompt = self.connect(), self.prompt(f"Tell [[pace:10ms]] [[fault:{fault}]]")
            reply = client.call("QUERY", prompt=prompt, stream=True)
            error = self.error(reply, "INTERRUPTED", retryable=True)
            sent = sum(len(chunk["data"]) for chunk in reply.chunks)
            self.assertGreater(sent, 0)
            self.assertEqual(error["offset"], sent)
            self.assertEqual(self.lookup(client, prompt).source, "none")

    def test_who_has_seen_nothing_of_a_cut_stream_gets_a_new_attempt(self):
        client, prompt = self.connect(), self.prompt("Tell [[fault:cut#1]]")
        reply = self.query(client, prompt)
        self.assertEqual((reply.source, reply.reason), ("llm", "stored"))
        self.assertEqual(self.ai.calls(prompt), 2)

    def test_nothing_was_interrupted_for_who_has_seen_nothing(self):
        client, prompt = self.connect(), self.prompt("Tell [[pace:2ms]] [[fault:cut]]")
        error = self.error(client.call("QUERY", prompt=prompt), "UPSTREAM_FAILED", retryable=True)
        self.assertNotIn("offset", error)
        self.assertEqual(self.ai.calls(prompt), 2)
        self.assertEqual(self.lookup(client, prompt).source, "none")

    def test_tokens_that_the_provider_had_cached_are_passed_on(self):
        first, hit = self.twice(self.prompt("Again [[fault:cached-tokens=5]]"))
        self.assertEqual((first.body["cached_tokens"], hit.body["cached_tokens"]), (5, 5))

    def test_an_answer_without_usage_is_kept_without_tokens(self):
        first, hit = self.twice(self.prompt("Cheap [[fault:no-usage]]"))
        self.assertEqual(first.reason, "stored")
        self.assertEqual(hit.source, "exact")
        self.assertFalse(hit.body.get("tokens_saved"))

    def test_event_streams_in_all_their_dialects_are_read(self):
        for fault in ("crlf", "comments", "unknown-length", "wrong-type", "slow-bytes=1"):
            first, hit = self.twice(self.prompt(f"Say [[answer-bytes:200]] [[fault:{fault}]]"))
            self.assertIn("Say", first.text, fault)
            self.assertEqual((first.reason, hit.text), ("stored", first.text), fault)

    def test_requests_that_rule_reuse_out_are_refused_by_name(self):
        client = self.connect()
        for params, field in (({"n": 2}, "params.n"), ({"logprobs": True}, "params.logprobs")):
            reply = client.call("QUERY", prompt=self.prompt(), params=params)
            self.error(reply, "UNSUPPORTED", field=field)

    def test_a_cancelled_request_ends_once_and_its_id_is_free(self):
        client, prompt = self.connect(), self.prompt()
        self.ai.control(hold=True)
        id = client.send("QUERY", prompt=prompt)
        self.ai.wait_calls(1, prompt)
        client.send("CANCEL", id=id)
        self.error(client.reply(id), "CANCELLED", retryable=False)
        self.ai.control(hold=False)
        client.send("QUERY", id=id, prompt=self.prompt())
        self.end(client.reply(id))

    def test_the_clients_own_time_is_kept(self):
        client, prompt = self.connect(), self.prompt()
        self.ai.control(hold=True)
        began = time.monotonic()
        self.error(client.call("QUERY", prompt=prompt, timeout_ms=150), "TIMEOUT", retryable=True)
        took = time.monotonic() - began
        self.assertGreaterEqual(took, 0.145)
        self.assertLess(took, 2 if harness.SANITIZED else 0.6)
        self.ai.control(hold=False)
        harness.wait_until(lambda: self.lookup(client, prompt).source == "exact", "the abandoned answer in the cache")

    def test_credit_is_obeyed_to_the_byte(self):
        client, prompt = self.connect(), self.prompt()
        self.ai.control(answer_bytes=5000)
        text = self.query(client, prompt).text.encode()
        id = client.send("QUERY", prompt=prompt, stream=True, window=1000)
        received = b""
        while len(received) < len(text):
            want = min(len(received) + 1000, len(text))
            while len(received) < want:
                frame = client.receive()
                self.assertEqual(frame.op if frame.op != "HEAD" else "CHUNK", "CHUNK")
                received += frame.body.get("data", b"")
            self.assertEqual(len(received), want)
            with self.assertRaises(TimeoutError):
                if len(received) < len(text):
                    client.receive(0.05)
                else:
                    raise TimeoutError
            client.send("WINDOW", id=id, credit=1000)
        end = client.reply(id)
        self.assertEqual(received + end.text.encode(), text)


class Stats(harness.Case):
    def test_stats_count_what_happened(self):
        client, prompt = self.connect(), self.prompt()
        before = self.daemon.stats()
        self.query(client, prompt)
        self.query(client, prompt)
        self.lookup(client, prompt + "?")
        after = self.daemon.stats()
        for name, delta in (("engine_queries_total", 3), ("engine_llm_total", 1), ("engine_hits_exact_total", 1), ("engine_misses_total", 1),
                            ("engine_stored_total", 1), ("upstream_calls_total", 1)):
            self.assertEqual(after[name] - before[name], delta, name)
        self.assertGreater(after["engine_tokens_saved_total"], before["engine_tokens_saved_total"])

    def test_every_described_metric_is_there(self):
        _, text, _ = harness.run_daemon(self.home, "--describe", "metrics")
        described = {line.split()[0] for line in text.splitlines() if line.strip()}
        self.assertLessEqual({n for n in described if not n.startswith("lmdb_")}, set(self.daemon.stats()))
        self.assertLessEqual(set(self.daemon.stats()), described)


Reuse.options = Kept.options = {"prices[0].model": "gpt-4o", "prices[0].prompt": "2.5", "prices[0].completion": "10"}
harness.variants(globals(), Reuse, transport=("unix", "tcp"), store=("none", "lmdb"))
harness.variants(globals(), Kept, transport=("unix", "tcp"))

if __name__ == "__main__":
    harness.main()
