"""What plain mitmproxy loads: `mitmdump -s addons/gateway.py --set shin_policies=policies`."""

from shin_gateway.plugin import Plugin

addons = [Plugin()]
