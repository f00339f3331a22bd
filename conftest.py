"""Here and not below tests/, because pytest asks only the conftest files above a document."""

from tests.docs.snippets import SNIPPETS

pytest_collect_file = SNIPPETS.pytest()
