"""The blocking SDK. Run it: python examples/sdk_sync.py"""

import holdfast.sync as hf
from holdfast import until


def main() -> None:
    with hf.connect() as host:
        session = host.open("example-sync", argv=["bash"])  # made, or found if it runs already
        try:
            session.wait_for(until.input("prompt"), timeout=30, since=0)

            made = session.run("cd /tmp && mktemp -d", check=True)  # its own output, not the prompt's; cd lasts
            folder = made.output.text.strip()
            print("made", folder, "in", f"{made.duration:.2f} s")

            result = session.run(f"ls -la {folder}; rmdir {folder}; false")
            print("exit status", result.exit_code)

            with session.start("for i in 1 2 3; do echo line $i; sleep 0.1; done") as command:
                for line in command.lines():  # as they come; leaving the loop would not end the command
                    print("saw", line)

            session.start("read -p 'Your name? ' name; echo Hello, $name.")
            asked = session.wait_for(until.input("line"), timeout=10)
            print("it asks:", asked.prompt)
            session.send("Ada\r")
            print(session.wait_for(until.match(r"Hello, \w+"), timeout=10).text)
        finally:
            session.kill()


if __name__ == "__main__":
    main()
