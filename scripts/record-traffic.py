#!/usr/bin/env python3
"""Records what PostgreSQL clients say to the server, for laminar-server/tests/traffic.

    record-traffic.py SERVER_PORT OUT_FILE COMMAND...

Listens on a free port, puts it into the environment of COMMAND as PGPORT, passes everything through to
the server, and writes the client's messages of each connection, one a line: the type ("-" for the
startup packet) and the whole message in hex, with an empty line between connections. Cancel requests
and TLS requests are left out: the first name a process that is gone, the second is answered with no.
"""

import os
import socket
import struct
import subprocess
import sys
import threading


def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        try:
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def exactly(connection, size):
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def startup(client, server, messages):
    """Passes packets without a type on until the startup itself."""
    while True:
        head = exactly(client, 4)
        packet = head + exactly(client, struct.unpack("!I", head)[0] - 4)
        code = struct.unpack("!I", packet[4:8])[0]
        server.sendall(packet)
        if code in (80877103, 80877104):  # TLS, GSS
            client.sendall(exactly(server, 1))
            continue
        if code != 80877102:  # cancel
            messages.append(("-", packet))
        return


def serve(client, port, conversations):
    server = socket.create_connection(("127.0.0.1", port))
    messages = []
    conversations.append(messages)
    try:
        startup(client, server, messages)
        threading.Thread(target=pump, args=(server, client), daemon=True).start()
        while True:
            head = exactly(client, 5)
            message = head + exactly(client, struct.unpack("!I", head[1:])[0] - 4)
            messages.append((chr(head[0]), message))
            server.sendall(message)
    except (EOFError, OSError):
        server.close()


def main():
    port, out, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    listener = socket.create_server(("127.0.0.1", 0))
    conversations = []

    def accept():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client, port, conversations), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    environment = dict(os.environ, PGPORT=str(listener.getsockname()[1]))
    code = subprocess.call(command, env=environment)
    with open(out, "w") as file:
        for messages in filter(None, conversations):
            for kind, message in messages:
                file.write(f"{kind} {message.hex()}\n")
            file.write("\n")
    sys.exit(code)


main()
