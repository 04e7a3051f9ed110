"""Polls the thermostat, for Grafana."""

import os
from pathlib import Path

HOST = os.getenv("THERMOSTAT", "192.168.1.26")
PORT = 23
POLL_PERIOD: float = 1.0
CSV_PATH = Path("log.csv")
FIELDS = [
    "temperature", "i_tec", "pid_output", "adc", "sens", "i_set", "dac_value", "dac_feedback", "tec_i",
    "tec_u_meas", "pid_engaged", "current_swapped", "interval", "vref",
]  # fmt: skip
WINDOW = 10 * 60

raise SystemExit("this is never run")
