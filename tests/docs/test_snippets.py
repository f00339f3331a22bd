from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sybil import Document

from tests.docs.snippets import SNIPPETS, enter_document, leave_document

Read = Callable[[str], Document]


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Read]:
    documents = []

    def read(text: str) -> Document:
        path = tmp_path / "page.md"
        path.write_text(text)
        document = SNIPPETS.parse(path)
        enter_document(document.namespace)
        documents.append(document)
        return document

    yield read
    for document in documents:
        leave_document(document.namespace)


def run(document: Document) -> None:
    for example in document.examples():
        example.evaluate()


def test_blocks_share_their_names_and_one_event_loop(read: Read) -> None:
    document = read(
        "```python\n"
        "import asyncio\n"
        "answer = asyncio.get_running_loop().create_future() if await asyncio.sleep(0, True) else None\n"
        "```\n"
        "Some prose.\n"
        "```python\n"
        "asyncio.get_running_loop().call_soon(answer.set_result, 42)\n"
        "result = await answer\n"
        "```\n"
    )
    run(document)
    assert document.namespace["result"] == 42


def test_a_block_without_await_may_start_a_loop_of_its_own(read: Read) -> None:
    document = read("```python\nimport asyncio\nresult = asyncio.run(asyncio.sleep(0, 42))\n```\n")
    run(document)
    assert document.namespace["result"] == 42


def test_a_failing_block_points_at_its_line_in_the_document(read: Read) -> None:
    document = read("# Title\n\n```python\nfine = True\nraise ValueError\n```\n")
    with pytest.raises(ValueError, match=r"^$") as failure:
        run(document)
    assert failure.traceback[-1].lineno + 1 == 5
    assert failure.traceback[-1].path == Path(document.path)


def test_a_block_marked_as_not_run_is_skipped_with_its_reason(read: Read) -> None:
    document = read("<!-- not run: needs a key -->\n```python\nraise ValueError\n```\n")
    with pytest.raises(pytest.skip.Exception, match=r"^needs a key$"):
        run(document)


def test_the_mark_holds_for_one_block_only(read: Read) -> None:
    document = read("<!-- not run: needs a key -->\n```python\n1 / 0\n```\n\n```python\nresult = 42\n```\n")
    [_, second] = document.examples()
    second.evaluate()
    assert document.namespace["result"] == 42


def test_console_blocks_are_not_run(read: Read) -> None:
    assert list(read("```console\n$ rm -rf everything\n```\n").examples()) == []


def test_a_document_works_in_a_directory_of_its_own(read: Read) -> None:
    before = Path.cwd()
    document = read("```python\nfrom pathlib import Path\nhere = Path.cwd()\n```\n")
    run(document)
    assert document.namespace["here"] != before
    leave_document(document.namespace)
    assert Path.cwd() == before
