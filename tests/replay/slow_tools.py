"""An MCP server on stdio in front of another one: it logs each call when it starts, holds it up, may kill the client.

python slow_tools.py '{"log": …, "arm": …, "kills": …, "risky": […], "hold_ms": …}' COMMAND…

When the file "arm" is there, {"ran": true or false}, the client is killed inside the next call of a risky tool: before
the call has reached the server, or when it has its result.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.replay.kills import kill, note


class SlowTools:
    def __init__(self, plan: dict[str, Any], command: list[str]) -> None:
        self.plan, self.client = plan, os.getppid()
        # of its own session: whoever ends our process group does not end a call that has begun
        self.server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.writing = threading.Lock()
        #: The request whose result the client does not live to see, and what it calls.
        self.fatal: tuple[Any, str] | None = None

    def run(self) -> None:
        answering = threading.Thread(target=self.answer)
        answering.start()
        held: list[threading.Timer] = []
        for line in sys.stdin:
            request = json.loads(line)
            hold = 0
            if request.get("method") == "tools/call":
                hold = self.plan["hold_ms"]
                self.begin(request["id"], request["params"])
            timer = threading.Timer(hold / 1000, self.pass_on, [line])
            if hold:
                timer.start()
                held.append(timer)
            else:
                self.pass_on(line)
        for timer in held:
            timer.join()
        assert self.server.stdin is not None
        self.server.stdin.close()
        answering.join()
        self.server.wait()

    def begin(self, request: Any, params: dict[str, Any]) -> None:
        tool, arguments = params["name"], params.get("arguments") or {}
        note(Path(self.plan["log"]), tool=tool, arguments=arguments)
        arm = Path(self.plan["arm"])
        if tool in self.plan["risky"] and arm.exists():
            armed = json.loads(arm.read_text(encoding="utf-8"))
            arm.unlink()
            called = json.dumps([tool, arguments], sort_keys=True)
            if armed["ran"]:
                self.fatal = (request, called)
            else:
                self.kill_client("inside", called)

    def kill_client(self, kind: str, called: str) -> None:
        if os.getppid() == self.client:  # else it is dead already
            kill(self.client, Path(self.plan["kills"]), kind, called=called)

    def pass_on(self, line: str) -> None:
        with self.writing:
            assert self.server.stdin is not None
            self.server.stdin.write(line)
            self.server.stdin.flush()

    def answer(self) -> None:
        assert self.server.stdout is not None
        for line in self.server.stdout:
            if self.fatal and json.loads(line).get("id") == self.fatal[0]:
                self.kill_client("inside, done", self.fatal[1])
            try:
                sys.stdout.write(line)
                sys.stdout.flush()
            except BrokenPipeError:  # nobody hears of what goes on
                pass


if __name__ == "__main__":
    # the client's death must not undo what was begun
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    SlowTools(json.loads(sys.argv[1]), sys.argv[2:]).run()
    # what is left in the buffer has no reader any more, which is no failure
    os._exit(0)
