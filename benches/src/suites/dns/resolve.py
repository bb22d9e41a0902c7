"""Resolves names with gevent, and prints how many in a second: how many names, how many at once."""
import sys
import time

from gevent.pool import Pool
from gevent.socket import gethostbyname

count, at_once = int(sys.argv[1]), int(sys.argv[2])
names = ["h%d.example" % number for number in range(count)]
gethostbyname(names[0])
pool = Pool(at_once)
start = time.perf_counter()
found = pool.map(gethostbyname, names)
elapsed = time.perf_counter() - start
assert len(found) == count
print(count / elapsed)
