"""Asks for an answer over and over, each time on a new connection, until a file appears; prints what became of it as JSON.

usage: load.py STOPFILE DOOR=PORT… where DOOR is http, https, websocket or quic. STOPFILE.began appears when each has answered once.
"refused" is a connection that nobody took (for UDP: the port was closed); the other failures are connections that were taken and lost, or datagrams that
no answer came to.
"""

import json
import os
import secrets
import socket
import ssl
import sys
import threading
import time

stop, doors = sys.argv[1], [door.split("=") for door in sys.argv[2:]]
lock = threading.Lock()
counts = {"ok": 0, "refused": 0, "reset": 0, "timeout": 0, "other": 0}
by = {door: 0 for door, _ in doors}
longest = 0.0
request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
upgrade = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mcp\r\n\r\n"
)
tls = ssl.create_default_context()
tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE


def http(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        return read(connection)


def https(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain, tls.wrap_socket(plain) as connection:
        return read(connection)


def read(connection):
    connection.sendall(request)
    answer = b""
    while part := connection.recv(65536):
        answer += part
    return answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503"))


def websocket(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(upgrade)
        return connection.recv(65536).startswith((b"HTTP/1.1 101", b"HTTP/1.1 503"))


def quic(port):
    """A first packet of a version that nobody speaks: a server has to say which it does (RFC 9000, 6.1). Sent anew every half second, as clients do."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.connect(("127.0.0.1", port))
        connection.settimeout(0.5)
        own, other = secrets.token_bytes(8), secrets.token_bytes(8)
        packet = (b"\xc0\x0a\x0a\x0a\x0a\x08" + other + b"\x08" + own).ljust(1200, b"\0")
        for _ in range(60):
            connection.send(packet)
            try:
                return connection.recv(2048)[1:5] == b"\0\0\0\0"
            except TimeoutError:
                pass
        raise TimeoutError


def run(door, port):
    global longest
    while not os.path.exists(stop):
        began = time.monotonic()
        try:
            outcome = "ok" if globals()[door](int(port)) else "other"
        except ConnectionRefusedError:
            outcome = "refused"
        except TimeoutError:
            outcome = "timeout"
        except (ConnectionError, ssl.SSLError):
            outcome = "reset"
        with lock:
            counts[outcome] += 1
            by[door] += outcome == "ok"
            longest = max(longest, time.monotonic() - began)
            if all(by.values()) and not os.path.exists(stop + ".began"):
                open(stop + ".began", "w").close()
        time.sleep(0.002)


workers = [threading.Thread(target=run, args=door) for door in doors for _ in range(max(2, 8 // len(doors)))]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print(json.dumps({**counts, "by": by, "longest_s": round(longest, 3)}))
