"""A page's elements, which must be nested as they should be."""

import html.parser

VOID = {"meta", "col", "link", "br", "img", "input", "hr"}


class Nested(html.parser.HTMLParser):
    """Keeps the stack of open elements; each tag must close the last one that is open."""

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.feed(text)
        self.close()
        assert self.open == []

    def started(self, tag, attrs):
        """An element begins, with these attributes."""

    def handle_starttag(self, tag, attrs):
        self.started(tag, dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag
