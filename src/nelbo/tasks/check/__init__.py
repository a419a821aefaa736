"""The examination of a model: what is stated of it, held against its network."""

from nelbo.tasks.check.examination import check

__all__ = ["check"]
