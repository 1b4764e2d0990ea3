"""Text that somebody might put into a config, a record or a log, to have it executed or to deceive."""

# Pages run `attacked()`, and tests define it.
PAGES = (
    "</script><script>attacked()</script>",
    "<!--<script>",
    "<img src=x onerror=attacked()>",
    "<svg/onload=attacked()>",
    "</title></style><script>attacked()</script>",
    '"><script>attacked()</script>',
    "' onmouseover='attacked()",
    "{{ attacked() }} {% raw %} ${attacked()}",
    "`see <javascript:attacked()>`_",
    "`see`_ Workflow_ networks.html_ |x| [1]_",
    ":raw-html:`<script>attacked()</script>`",
    ".. raw:: html",
    "[see](javascript:attacked()) ![x](http://192.0.2.1/x.png)",
    "<javascript:attacked()> <http://192.0.2.1>",
    "[see]: javascript:attacked()",
    "http://192.0.2.1/attacked",
    "&lt;script&gt;attacked()&lt;/script&gt;",
    "\\</script\\>",
)
LATEX = (
    r"\input{/etc/passwd}",
    r"\immediate\write18{touch attacked}",
    r"\href{javascript:attacked()}{see}",
    r"}\end{table}\input|ls",
    "100 % of \\x",
    "^^5cinput",
    "$\\catcode`\\%=12$",
)
# For a terminal: colours, a title of the window, a link, a carriage return, and letters without a shape of
# their own, some of which turn the direction of others.
TERMINALS = (
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x1b]8;;http://192.0.2.1\x1b\\see\x1b]8;;\x1b\\",
    "\x1bc",
    "\x9b2J",
    "ok\rfailed",
    "a\bb",
    "abc\u202efdc.exe",
    "a\u2066b\u2069",
    "a\u200bb\u200d\ufeff",
    "a\u2028b\x85c",
    "\udc1b\udcff",
    "\x00",
)
FORMULAS = (
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "＝1",
    "\u200b=1",
)
# With what must not be shown of them.
SECRETS = {
    "http://me:s3cret@host:5000": "s3cret",
    "https://s3cret@host/x.git": "s3cret",
    "postgresql+psycopg2://me:s3cret@host/db": "s3cret",
    "mysql://me:s3/cr@et@host/db": "s3",
    "http://me:s3%40cret@[::1]:80/": "s3%40cret",
    "ProxyError('http://me:s3cret@proxy:3128')": "s3cret",
    "http_proxy=me:s3cret@proxy:3128": "s3cret",
    "git clone https://me:s3cret@host/x": "s3cret",
    "https://host/x?a=1&access_token=s3cret&b=2": "s3cret",
    "sqlite:///x.db?password=s3cret": "s3cret",
    "https://host/x?X-Amz-Signature=s3cret": "s3cret",
    "WANDB_API_KEY=s3cret python train.py": "s3cret",
    "train.py --token s3cret --lr 0.1": "s3cret",
    "train.py --api-key='s3cret'": "s3cret",
    "{'Authorization': 'Bearer s3cret'}": "s3cret",
}
