"""What of an account is beyond its quota."""

from __future__ import annotations

from domain.quota import Quota, Used, exceeded


def test_what_is_too_much_names_both_figures_and_what_helps() -> None:
    used = Used(services=3, containers=7)
    assert exceeded(Quota(), used, "eve") == {}
    assert exceeded(Quota(services=3, containers=7), used, "eve") == {}
    found = exceeded(Quota(services=2, containers=6), used, "eve")
    assert list(found) == ["services", "target_num_containers"]
    assert found["services"].startswith("eve would have 3 services, the quota is 2: terminate others, or ask an admin")
    assert "7 containers, the quota is 6" in found["target_num_containers"]
    assert all("./tutela admin users quota eve" in text for text in found.values())
