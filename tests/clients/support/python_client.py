"""A client of python-socketio. Lines of JSON on its input tell it what to do, and lines of JSON on its output
say what came of it and what it hears. Bytes are written {"base64": text}."""

import base64
import json
import sys
import threading

import socketio

writing = threading.Lock()


def packed(value):
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        return [packed(part) for part in value]
    if isinstance(value, dict):
        return {key: packed(part) for key, part in value.items()}
    return value


def unpacked(value):
    if isinstance(value, list):
        return [unpacked(part) for part in value]
    if isinstance(value, dict):
        if list(value) == ["base64"]:
            return base64.b64decode(value["base64"])
        return {key: unpacked(part) for key, part in value.items()}
    return value


def say(**what):
    with writing:
        print(json.dumps(packed(what)), flush=True)


def main():
    options = json.loads(sys.argv[1])
    namespace = options.get("namespace", "/")
    client = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=0.5)

    def hears(event):
        def handler(*args):
            say(heard=event, args=args)
            # What a handler returns is the acknowledgement.
            return "seen by python"

        client.on(event, handler, namespace=namespace)

    for event in options["events"]:
        hears(event)
    client.on("connect", lambda: say(heard="connect", args=[client.get_sid(namespace)]), namespace=namespace)
    client.on("connect_error", lambda *args: say(heard="connect_error", args=args), namespace=namespace)
    client.on("disconnect", lambda *args: say(heard="disconnect", args=[]), namespace=namespace)
    try:
        client.connect(
            options["url"],
            auth=options.get("auth"),
            transports=options.get("transports"),
            namespaces=[namespace],
            wait_timeout=10,
        )
    except socketio.exceptions.ConnectionError as error:
        say(failed=str(error))
        return
    for line in sys.stdin:
        order = json.loads(line)
        args = tuple(unpacked(order["args"]))
        answer = client.call(order["event"], args, namespace=namespace, timeout=20)
        say(answer=order["number"], value=answer)
    client.disconnect()


main()
