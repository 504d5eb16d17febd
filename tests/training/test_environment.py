"""The contract for equal bits names what differs, and leaves the caller's settings alone."""

import pytest
import torch

from olvido.errors import EnvironmentMismatch
from olvido.training.environment import deterministic, environment, require_same


def test_the_contract_holds_in_the_same_place() -> None:
    require_same(environment(), environment("cpu"))


def test_another_number_of_threads_is_another_environment() -> None:
    recorded = environment()
    torch.set_num_threads(2)
    try:
        with pytest.raises(EnvironmentMismatch, match="threads: recorded '1', here '2'"):
            require_same(recorded, environment())
    finally:
        torch.set_num_threads(1)


def test_every_difference_is_named() -> None:
    recorded = {"torch": "1", "threads": "1", "gpu": "H100"}
    with pytest.raises(EnvironmentMismatch) as caught:
        require_same(recorded, {"torch": "2", "threads": "1", "machine": "x86_64"})
    message = str(caught.value)
    assert "torch: recorded '1', here '2'" in message
    assert "gpu: recorded 'H100', here 'nothing'" in message
    assert "machine: recorded 'nothing', here 'x86_64'" in message
    assert "threads" not in message


@pytest.mark.parametrize("warn_only", [False, True])
@pytest.mark.parametrize("enabled", [False, True])
def test_the_callers_settings_come_back(enabled: bool, warn_only: bool) -> None:
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
    state = torch.get_rng_state()

    def fails() -> None:
        with deterministic():
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
            torch.rand(3)
            raise ZeroDivisionError

    try:
        with pytest.raises(ZeroDivisionError):
            fails()
        assert torch.are_deterministic_algorithms_enabled() == enabled
        if enabled:
            assert torch.is_deterministic_algorithms_warn_only_enabled() == warn_only
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        torch.use_deterministic_algorithms(False)
