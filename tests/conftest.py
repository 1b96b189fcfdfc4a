"""What is too slow to start for every test."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support.dockers import DockerEngine, docker_engine

# A shell that starts this in the background has it ignore both, and every program that it starts would too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def one_docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    """One for all tests: ask for `docker`."""
    with docker_engine(tmp_path_factory.mktemp("docker")) as engine:
        yield engine


@pytest.fixture
def docker(one_docker_engine: DockerEngine) -> Iterator[DockerEngine]:
    """A real Docker Engine without containers."""
    yield one_docker_engine
    one_docker_engine.clear()
