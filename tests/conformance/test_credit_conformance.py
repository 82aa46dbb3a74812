"""Every registered credit method, with every knob, against every check due to its kind."""

import credit_checks
import pytest

from stepcredit.core import registry

METHODS = [method for entry in registry.entries("credit") for method in credit_checks.variants(entry)]


def name_of(method):
    return "-".join([method.name, *(f"{knob}={value}" for knob, value in method.knobs.items())])


@pytest.mark.parametrize(
    ("method", "check"),
    [pytest.param(m, c, id=f"{name_of(m)}-{c}") for m in METHODS for c in credit_checks.due(m)],
)
def test_credit_method_satisfies(method, check):
    credit_checks.CHECKS[check](method)


def test_the_suite_saw_every_method_and_knob():
    names = {name_of(method) for method in METHODS}
    assert {m.name for m in METHODS} == set(registry.names("credit"))
    assert {"group_mean-normalize=none", "group_mean-leave_one_out=True", "latent_chain-read=posterior"} <= names


def test_exemptions_name_a_check_and_give_a_reason():
    for method in METHODS:
        for check, reason in method.exempt.items():
            assert check in credit_checks.CHECKS, f"{method.name} is exempt from {check!r}, which is no check"
            assert len(reason.split()) > 3, f"{method.name}: say why it is exempt from {check}"
