"""MQTT: what all instruments say now, on topics and for Home Assistant; the present, never the past.

It stands here and not in `telemetry`, which knows no alarms: readings and alarms go out side by side.
"""
