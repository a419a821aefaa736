"""Deliberate errors in text: what is counted and shown, as the fields of `mutants.Mutant`."""

__all__ = ["TEXT"]

DATA = "tests/test_text_data.py::test_"
SHOWN = "tests/categorical/test_shown.py::test_"
WRAP = "tests/test_wrap_tokens.py::test_"
FOLDER = "tests/formats/test_masked_lm.py::test_"
CAUSAL = "tests/categorical/test_autoregressive.py::test_"
TASKS = "tests/tasks/test_text.py::test_"
DOCUMENTS = "tests/tasks/test_compare_documents.py::test_"

TEXT = [
    (
        "text: padding that is to be shown is counted",
        "data/tokens.py",
        "constant_values=-1 - stream.fill",
        "constant_values=stream.fill",
        (f"{DATA}the_filling_is_counted_or_shown_and_has_no_bytes",),
    ),
    (
        "text: what an earlier window counted is counted again",
        "data/tokens.py",
        "levels[: done - start] = -1 - levels[: done - start]",
        "pass",
        (f"{DATA}every_symbol_of_a_text_is_counted_once",),
    ),
    (
        "text: a remainder is left out",
        "data/tokens.py",
        "for start in [*range(0, last, stride), last]:",
        "for start in [*range(0, last, stride)] or [last]:",
        (f"{DATA}every_symbol_of_a_text_is_counted_once",),
    ),
    (
        "text: a token is a byte",
        "results/unit.py",
        'counts = (known_of(text.get("bytes")), known_of(text.get("characters")))',
        'counts = (known_of(text.get("tokens")), known_of(text.get("characters")))',
        (f"{DATA}units_divide_the_same_nats_by_what_the_original_text_has",),
    ),
    (
        "text: bits/byte by the bytes of a window that is full",
        "results/unit.py",
        'math.log(2) * number_at(text, "bytes") / positions',
        "math.log(2)",
        (f"{DATA}the_unit_of_windows_is_the_ratio_of_the_sums",),
    ),
    (
        "text: bits/byte of a tokenizer that loses bytes",
        "results/unit.py",
        'if text.get("bytes") and text.get("lossless"):',
        'if text.get("bytes"):',
        (f"{DATA}symbols_of_an_unknown_text_have_no_bytes",),
    ),
    (
        "text: a character is a byte",
        "data/symbols.py",
        "sizes: Array = 1 + (code >= 0x80) + (code >= 0x800) + (code >= 0x10000)",
        "sizes: Array = 1 + (code >= 0x800) + (code >= 0x10000)",
        (f"{DATA}every_symbol_of_a_text_is_counted_once",),
    ),
    (
        "text: shown positions are masked",
        "categorical/masked.py",
        "    def masked(self, x: States, t: Time) -> Positions:\n        return x >= 0\n",
        "    def masked(self, x: States, t: Time) -> Positions:\n        return x >= -9\n",
        (f"{SHOWN}the_bound_of_what_is_not_shown_is_its_own_sum_over_subsets",),
    ),
    (
        "text: a prompt that the network does not see as it is",
        "categorical/masked.py",
        "predicted(seen(x_t), self.times[t - 1])",
        "predicted(x_t.clamp(min=0), self.times[t - 1])",
        (f"{SHOWN}a_continuation_given_its_prompt_adds_up_to_the_whole",),
    ),
    (
        "text: the mask's own logit among the symbols",
        "networks/tokens.py",
        "if self.mask < self.vocabulary:",
        "if False:",
        (f"{WRAP}an_order_of_tokens_is_that_of_calls_by_hand",),
    ),
    (
        "text: padding that a network of transformers attends to",
        "networks/tokens.py",
        "seen = (places < first + length + more).long()",
        "seen = (places >= 0).expand(len(ids), -1).long()",
        (f"{FOLDER}padding_is_not_seen",),
    ),
    (
        "text: the end token behind the padding",
        "networks/tokens.py",
        "framed.scatter(1, first + length + places[:more], behind)",
        "framed.scatter(1, first + ids.shape[1] + 0 * length + places[:more], behind)",
        (f"{FOLDER}padding_is_not_seen",),
    ),
    (
        "text: what stands round a text is left out",
        "formats/masked_lm.py",
        "before, behind = alphabet.around()",
        "before, behind = [], []",
        (f"{FOLDER}one_line_measures_the_folder_as_its_network_says_by_hand",),
    ),
    (
        "text: weights that are missing are random",
        "formats/masked_lm.py",
        "    if missing:\n",
        "    if False:\n",
        (f"{FOLDER}a_folder_that_is_no_such_model_is_refused_in_one_line",),
    ),
    (
        "text: a mask inside the data is passed over",
        "model/examples.py",
        "if mask is not None and",
        "if False and",
        (f"{WRAP}a_mask_inside_the_data_is_refused",),
    ),
    (
        "text: the spread of the nats for that of the bits/byte",
        "bound/statistics.py",
        "spread = values if sizes is None else",
        "spread = values if True else",
        (f"{TASKS}the_error_of_a_ratio_leaves_out_what_goes_with_the_sizes",),
    ),
    (
        "text: the simple loss has what is seen in it",
        "categorical/objective.py",
        "own.masked_fill(x_t != p.mask, 0)",
        "own",
        (f"{TASKS}the_simple_loss_is_twice_the_cost_of_what_is_masked",),
    ),
    (
        "text: a causal place sees itself",
        "networks/transformer.py",
        "x_t = pad(x_t[:, :-1], (1, 0), value=self.K - 1)",
        "x_t = x_t + 0",
        (f"{CAUSAL}a_causal_transformer_sees_what_stands_before_alone_with_as_many_weights",),
    ),
    (
        "text: a causal convolution looks ahead",
        "networks/transformer.py",
        "padding=REACH - 1 if causal else REACH // 2",
        "padding=REACH // 2 if causal else REACH // 2",
        (f"{CAUSAL}a_causal_transformer_sees_what_stands_before_alone_with_as_many_weights",),
    ),
    (
        "text: a causal attention looks ahead",
        "networks/transformer.py",
        "src_mask=mask, is_causal=self.causal",
        "src_mask=None",
        (f"{CAUSAL}a_causal_transformer_sees_what_stands_before_alone_with_as_many_weights",),
    ),
    (
        "text: a prompt of an autoregressive model is counted",
        "categorical/autoregressive.py",
        "torch.where(self.x_1 == self.mask, own, 0).sum(1, dtype=torch.float64)",
        "own.sum(1, dtype=torch.float64)",
        (f"{CAUSAL}a_continuation_is_measured_given_its_prompt",),
    ),
    (
        "text: the variance of a document is that of one of its windows",
        "tasks/paired.py",
        "_summed(own.variance, at), own.dof)",
        "_summed(own.variance, at) / 9, own.dof)",
        (f"{DOCUMENTS}a_bound_by_document_is_within_its_error_of_the_truth",),
    ),
    (
        "text: documents of other windows are divided by the windows of A",
        "tasks/paired.py",
        "unit_of_text(self._text, self.count)",
        "unit_of_text(self._text, len(self.sets[0]))",
        (f"{DOCUMENTS}the_difference_of_exact_likelihoods_is_that_of_the_documents",),
    ),
    (
        "text: other documents are paired",
        "tasks/paired.py",
        "if names[0] != names[1] or not torch.equal(*sizes):",
        "if False:",
        (f"{DOCUMENTS}what_are_no_pairs_of_documents_is_refused",),
    ),
]
