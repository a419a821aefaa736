"""Deliberate errors in evaluations that are made in parts."""

__all__ = ["PARTS"]

TEST = "tests/tasks/test_evaluation_parts.py::test_"
MERGED = (f"{TEST}parts_in_any_order_and_twice_are_the_bytes_of_one_process",)
TYPED = (f"{TEST}parts_by_the_command_line",)

PARTS = [
    (
        "each call's batches are dealt from the first part on",
        "estimation/parts.py",
        "before, self._dealt = self._dealt, self._dealt + count",
        "before = 0",
        MERGED,
    ),
    (
        "a part counted from 0",
        "estimation/parts.py",
        "% self.of == self.number - 1]",
        "% self.of == self.number % (self.of - 1)]",
        MERGED,
    ),
    (
        "values of two machines for one batch, of which the last counts",
        "estimation/parts.py",
        "if not _same(known.entries, part.entries):",
        "if known.entries.keys() != part.entries.keys():",
        MERGED,
    ),
    (
        "another seed merged",
        "estimation/parts.py",
        "    key = _difference(first.plan, other.plan)\n",
        "    key = None\n",
        MERGED,
    ),
    (
        "other data merged",
        "estimation/parts.py",
        "        key = _difference(self.plan, json.loads(json.dumps(plan)))\n",
        "        key = None\n",
        MERGED,
    ),
    (
        "a batch that no part holds is evaluated by merge",
        "estimation/parts.py",
        "        if entry is None:\n            raise BadInput(",
        "        if entry is None:\n            return None\n            raise BadInput(",
        MERGED,
    ),
    (
        "a part that was edited",
        "results/part.py",
        "    if digest != digest_of(tree):",
        "    if digest is None:",
        MERGED,
    ),
    (
        "the record of a part that is whole stays",
        "cli/parts.py",
        "            shutil.rmtree(self.record)",
        "            pass",
        TYPED,
    ),
    (
        "merge runs code that a part names",
        "cli/merge.py",
        'if not {"model", "models"} & own.keys() and code',
        'if {"model", "models"} & own.keys() and code',
        TYPED,
    ),
    (
        "merge writes what a part names",
        "cli/merge.py",
        "any(parsed.params.get(name) for name in NEVER)",
        "all(parsed.params.get(name) for name in NEVER)",
        TYPED,
    ),
    (
        "a missing part's command is that of another",
        "cli/parts.py",
        '"--part", f"{number}/{first.of}", "-o"',
        '"--part", f"{first.number}/{first.of}", "-o"',
        TYPED,
    ),
]
