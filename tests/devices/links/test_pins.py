import pytest

from devices.errors import ConfigurationError
from devices.links import pins

PIN = pins.of(b"a certificate")
AS_OPENSSL_WRITES_IT = ":".join(PIN[at : at + 2] for at in range(0, 64, 2)).upper()


@pytest.mark.parametrize("pin", ["", PIN, PIN.upper(), AS_OPENSSL_WRITES_IT])
def test_a_pin_is_taken_as_people_write_it(pin: str) -> None:
    pins.check(pin)
    assert pins.bare(pin) == (PIN if pin else "")


@pytest.mark.parametrize("pin", ["abc", PIN[:-1], PIN + "0", "g" * 64, "٣" * 64, " " + PIN[1:]])
def test_what_can_be_no_pin_is_refused(pin: str) -> None:
    with pytest.raises(ConfigurationError, match="option pin: a SHA-256 has 64 hexadecimal digits"):
        pins.check(pin)
