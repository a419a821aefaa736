"""The text that comes with the package, of the topic documentation of the running interpreter.

    python benchmarks/topics.py src/nelbo/topics.jsonl

Each paragraph stands in the first topic, by name, that has it, and in no other. Topics that share
60 characters in a row are on one side of the split: no such row of the test is in what is trained
on. The file in the package is of CPython 3.11.7; another version gives another text.
"""

import argparse
import hashlib
import json
import re
from pathlib import Path
from pydoc_data.topics import topics

ROW = 60  # characters in a row that make two topics one
TEST = 60_000  # characters of the test, at least
LARGEST = 30_000  # of a group of topics that may be in the test


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("output", type=Path)
    options = arguments.parse_args()
    texts = once_each(topics)
    test, size = set(), 0
    groups = [g for g in connected(texts) if sum(len(texts[name]) for name in g) <= LARGEST]
    for group in sorted(groups, key=lambda g: hashlib.sha256(" ".join(g).encode()).digest()):
        if size < TEST:
            test |= set(group)
            size += sum(len(texts[name]) for name in group)
    lines = [
        {"topic": name, "split": "test" if name in test else "train", "text": text}
        for name, text in texts.items()
    ]
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    options.output.write_bytes(content.encode())
    print(hashlib.sha256(content.encode()).hexdigest(), len(texts) - len(test), "and", len(test))


def once_each(topics: dict[str, str]) -> dict[str, str]:
    """The topics by name with the paragraphs that no topic before has."""
    seen, texts = set(), {}
    for name in sorted(topics):
        kept = []
        for paragraph in re.split(r"\n\s*\n", topics[name]):
            words = " ".join(paragraph.split())
            if words and words not in seen:
                seen.add(words)
                kept.append(paragraph.strip("\n"))
        if kept:
            texts[name] = "\n\n".join(kept) + "\n"
    return texts


def connected(texts: dict[str, str]) -> list[list[str]]:
    """Groups of topics: two that share a row of characters are in one."""
    group = {name: [name] for name in texts}
    first: dict[str, str] = {}
    for name, text in texts.items():
        for start in range(len(text) - ROW + 1):
            other = first.setdefault(text[start : start + ROW], name)
            if group[other] is not group[name]:
                group[other] += group[name]
                for moved in group[name]:
                    group[moved] = group[other]
    return [list(g) for g in {id(g): g for g in group.values()}.values()]


if __name__ == "__main__":
    main()
