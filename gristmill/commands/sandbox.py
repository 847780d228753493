"""`gristmill sandbox build`: gives the Docker daemon the image that sandboxed code runs in.

gristmill sandbox build            python:3.11-slim from the registry; where none is reached, the running Python
gristmill sandbox build --local    the running Python, whether or not a registry is reached
"""

from argparse import ArgumentParser, Namespace

from gristmill.commands import Command


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=["build"], help="build: give the Docker daemon its image")
    parser.add_argument("--local", action="store_true", help="import the running Python, without asking a registry")


def _sandbox(arguments: Namespace) -> int:
    from gristmill.sandbox.engines import require_docker_package

    require_docker_package()
    from gristmill.sandbox import docker, image

    client = docker.connect()
    name = None if arguments.local else image.pull(client)
    if name is None:
        if not arguments.local:
            print(f"no registry gives {image.PULLED}; importing the running Python instead.")
        name = image.import_local(client)
    size = client.images.get(name).attrs["Size"] / 2**20
    client.close()
    print(f"{name} ({size:.0f} MiB) is ready.")
    return 0


command = Command("give the Docker daemon the image that code runs in", _configure, _sandbox, "gristmill sandbox build")
