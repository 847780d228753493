"""The system calls that a snippet may make, as a BPF program for seccomp.

An allow-list: what CPython's standard library uses to compute, to work on files, and to start threads and processes of
its own. Everything else answers "no such call" (ENOSYS), upon which the C library falls back where it can. Not on the
list, among others: tracing, mounts, namespaces, keys, BPF, io_uring, modules, clocks, System V IPC and message queues
(which outlive a process), and what changes the priority, the cores or the limits of another process.

Three calls are looked at more closely: `socket` and `socketpair` only within the machine (AF_UNIX), `clone` without new
namespaces, `prlimit64` for the caller alone.

Source: linux/filter.h, linux/seccomp.h; numbers from the kernel's tables for x86_64 and for the generic ABI (aarch64).
"""

import errno
import platform
import struct
from typing import NamedTuple

from gristmill.errors import GristmillError

# name: (x86_64, aarch64); None where the architecture doesn't have it
CALLS: dict[str, tuple[int | None, int | None]] = {
    # files
    "read": (0, 63), "write": (1, 64), "open": (2, None), "openat": (257, 56), "close": (3, 57), "stat": (4, None),
    "fstat": (5, 80), "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291), "lseek": (8, 62),
    "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66), "preadv": (295, 69),
    "pwritev": (296, 70), "preadv2": (327, 286), "pwritev2": (328, 287), "access": (21, None), "faccessat": (269, 48),
    "faccessat2": (439, 439), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "fcntl": (72, 25),
    "flock": (73, 32), "fsync": (74, 82), "fdatasync": (75, 83), "sync_file_range": (277, 84), "truncate": (76, 45),
    "ftruncate": (77, 46), "fallocate": (285, 47), "fadvise64": (221, 223), "readahead": (187, 213),
    "getdents": (78, None), "getdents64": (217, 61), "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50),
    "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "mkdir": (83, None), "mkdirat": (258, 34),
    "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35), "link": (86, None), "linkat": (265, 37),
    "symlink": (88, None), "symlinkat": (266, 36), "readlink": (89, None), "readlinkat": (267, 78), "chmod": (90, None),
    "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None), "fchown": (93, 55), "lchown": (94, None),
    "fchownat": (260, 54), "umask": (95, 166), "utime": (132, None), "utimes": (235, None), "utimensat": (280, 88),
    "futimesat": (261, None), "statfs": (137, 43), "fstatfs": (138, 44), "sendfile": (40, 71),
    "copy_file_range": (326, 285), "splice": (275, 76), "tee": (276, 77), "pipe": (22, None), "pipe2": (293, 59),
    "ioctl": (16, 29), "mknod": (133, None), "mknodat": (259, 33), "getxattr": (191, 8), "lgetxattr": (192, 9),
    "fgetxattr": (193, 10), "listxattr": (194, 11), "llistxattr": (195, 12), "flistxattr": (196, 13),
    "close_range": (436, 436),
    # memory
    "brk": (12, 214), "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226), "mremap": (25, 216),
    "madvise": (28, 233), "msync": (26, 227), "membarrier": (324, 283),
    "get_mempolicy": (239, 236),
    # processes and threads
    "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "execve": (59, 221), "execveat": (322, 281),
    "exit": (60, 93), "exit_group": (231, 94), "wait4": (61, 260), "waitid": (247, 95), "getpid": (39, 172),
    "getppid": (110, 173), "gettid": (186, 178), "getpgid": (121, 155), "getpgrp": (111, None), "setpgid": (109, 154),
    "getsid": (124, 156), "setsid": (112, 157), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "getresuid": (118, 148), "getresgid": (120, 150), "getgroups": (115, 158),
    "set_tid_address": (218, 96), "set_robust_list": (273, 99), "get_robust_list": (274, 100), "futex": (202, 98),
    "futex_waitv": (449, 449), "rseq": (334, 293), "arch_prctl": (158, None), "prctl": (157, 167), "capget": (125, 90),
    "getrlimit": (97, 163), "setrlimit": (160, 164), "prlimit64": (302, 261), "getrusage": (98, 165),
    "getpriority": (140, 141), "sched_yield": (24, 124), "sched_getaffinity": (204, 123),
    "sched_getscheduler": (145, 120), "sched_getparam": (143, 121), "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126), "getcpu": (309, 168), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "times": (100, 153), "uname": (63, 160), "sysinfo": (99, 179),
    # signals
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigpending": (127, 136),
    "rt_sigsuspend": (130, 133), "rt_sigtimedwait": (128, 137), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "sigaltstack": (131, 132), "kill": (62, 129), "tkill": (200, 130),
    "tgkill": (234, 131), "pause": (34, None), "alarm": (37, None), "getitimer": (36, 102), "setitimer": (38, 103),
    "restart_syscall": (219, 128), "signalfd": (282, None), "signalfd4": (289, 74),
    # time and waiting
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "gettimeofday": (96, 169), "time": (201, None), "timer_create": (222, 107), "timer_settime": (223, 110),
    "timer_gettime": (224, 108), "timer_getoverrun": (225, 109), "timer_delete": (226, 111),
    "timerfd_create": (283, 85), "timerfd_settime": (286, 86), "timerfd_gettime": (287, 87), "select": (23, None),
    "pselect6": (270, 72), "poll": (7, None), "ppoll": (271, 73), "epoll_create": (213, None),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22),
    "epoll_pwait2": (441, 441), "eventfd": (284, None), "eventfd2": (290, 19), "getrandom": (318, 278),
    # local sockets
    "socket": (41, 198), "socketpair": (53, 199), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "connect": (42, 203), "shutdown": (48, 210), "sendto": (44, 206), "recvfrom": (45, 207),
    "sendmsg": (46, 211), "recvmsg": (47, 212), "sendmmsg": (307, 269), "recvmmsg": (299, 243),
    "getsockname": (51, 204), "getpeername": (52, 205), "getsockopt": (55, 209), "setsockopt": (54, 208),
}  # fmt: skip

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, JMP|JEQ|K, JMP|JSET|K, RET|K
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_FIRST_ARGUMENT = 16  # its low half, on a little-endian machine
_AF_UNIX = 1
_NEW_NAMESPACES = 0x7E020080  # every CLONE_NEW* flag


class _Machine(NamedTuple):
    column: int
    audit: int


_ALIASES = {"AMD64": "x86_64", "arm64": "aarch64"}  # of other systems, whose daemon runs Linux nevertheless
_MACHINES = {"x86_64": _Machine(0, 0xC000003E), "aarch64": _Machine(1, 0xC00000B7)}


def filter_program(machine: str | None = None) -> bytes:
    """The program for this machine's architecture; GristmillError where the tables don't have it."""
    machine = machine or platform.machine()
    machine = _ALIASES.get(machine, machine)
    if machine not in _MACHINES:
        raise GristmillError(
            f"the sandbox has no system-call filter for {machine}, so no code runs here; x86_64 or aarch64 is needed."
        )
    column, audit = _MACHINES[machine]
    numbers = {name: number for name, columns in CALLS.items() if (number := columns[column]) is not None}
    checked = {
        "socket": [(_EQUAL, _AF_UNIX, 0, 1), _gives(_ALLOW), _gives(_ERRNO | errno.EACCES)],
        "socketpair": [(_EQUAL, _AF_UNIX, 0, 1), _gives(_ALLOW), _gives(_ERRNO | errno.EACCES)],
        "clone": [(_ANY_BIT, _NEW_NAMESPACES, 0, 1), _gives(_ERRNO | errno.EPERM), _gives(_ALLOW)],
        "prlimit64": [(_EQUAL, 0, 0, 1), _gives(_ALLOW), _gives(_ERRNO | errno.EPERM)],
    }
    program = [(_LOAD, _ARCHITECTURE, 0, 0), (_EQUAL, audit, 1, 0), _gives(_KILL), (_LOAD, _NUMBER, 0, 0)]
    for name, number in numbers.items():
        decision = [(_LOAD, _FIRST_ARGUMENT, 0, 0), *checked[name]] if name in checked else [_gives(_ALLOW)]
        program += [(_EQUAL, number, 0, len(decision)), *decision]
    program.append(_gives(_ERRNO | errno.ENOSYS))
    return b"".join(struct.pack("<HBBI", code, yes, no, value) for code, value, yes, no in program)


def _gives(action: int) -> tuple[int, int, int, int]:
    return _RETURN, action, 0, 0
