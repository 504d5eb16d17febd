"""The contract for equal bits names what differs, and leaves the caller's settings alone."""

import pytest
import torch

from olvido.errors import EnvironmentMismatch, InputError
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


@pytest.mark.parametrize(
    ("configured", "match"),
    [
        ({"FSDP_VERSION": "1"}, "write fsdp_version: 2"),
        ({"FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, "each reads it whole: write false"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "give the recipe its dtype"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed is not supported"),
    ],
)
def test_what_shards_cannot_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, configured: dict[str, str], match: str
) -> None:
    for name, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", **configured}.items():
        monkeypatch.setenv(name, value)
    # One process has nothing to shard, whatever is configured.
    assert "sharding" not in environment()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=match):
        environment(world_size=2)


def test_how_weights_are_sharded_belongs_to_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WORLD_SIZE", "2")
    one = environment(world_size=2)
    monkeypatch.setenv("FSDP_RESHARD_AFTER_FORWARD", "true")
    with pytest.raises(EnvironmentMismatch, match="sharding: recorded 'fsdp2"):
        require_same(one, environment(world_size=2))
