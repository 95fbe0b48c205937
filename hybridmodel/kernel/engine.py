"""From LLVM's intermediate form to functions that run, once for all that ask for the same."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from queue import Empty, SimpleQueue

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from hybridmodel.kernel.lanes import Precision, Shape

_ALIGNMENT = 64  # bytes
_RECENT = 64  # modules that are kept though no model needs them now
_compiled: weakref.WeakValueDictionary[Hashable, Compiled] = weakref.WeakValueDictionary()
_recent: deque[Compiled] = deque(maxlen=_RECENT)
_lock = threading.Lock()


def machine() -> llvm.TargetMachine:
    """The processor this runs on; a fresh one each time, since an engine keeps its own."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    if _wide():
        features["prefer-256-bit"] = False
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3
    )


@functools.cache
def _wide() -> bool:
    return bool(llvm.get_host_cpu_features().get("avx512f", False))


def shape(precision: Precision) -> Shape:
    """The layout that suits this processor's registers."""
    features = llvm.get_host_cpu_features()
    size, registers = 16, 32 if not features.get("sse2", False) else 16
    if features.get("avx2", False):
        size, registers = 32, 16
    if features.get("avx512f", False):
        size, registers = 64, 32
    width = size // (4 if precision == "float32" else 8)
    span, tile = (2, 8) if registers == 32 else (3, 4)  # sums and operands fill them
    return Shape(precision, width, span, tile)


class Compiled:
    """Machine code of a module's kernel, `rows` of scratch memory that it needs.

    Keeps the engine, without which its address is void.
    """

    def __init__(self, name: str, make: Callable[[ir.Module], int]) -> None:
        written = ir.Module(name)
        self.rows = make(written)
        module = llvm.parse_assembly(str(written))
        module.verify()
        self._engine = llvm.create_mcjit_compiler(module, machine())
        self._engine.finalize_object()
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
        self._function = kind(self._engine.get_function_address(name))

    def run(self, fields: int, scratch_bytes: int, threads: int) -> None:
        """Runs the kernel on this many threads, the caller's is one; fields is an address."""

        def work() -> None:
            self._function(fields, _scratch(scratch_bytes))

        helpers: list[_Helper] = []
        try:
            for _ in range(threads - 1):
                if (helper := _helper()) is None:
                    break
                helpers.append(helper)
                helper.start_on(work)
            work()
        finally:
            _finish(helpers)  # they write into memory that the caller frees
        for helper in helpers:
            if helper.error is not None:
                raise helper.error


def compiled(name: str, made_from: Hashable, make: Callable[[ir.Module], int]) -> Compiled:
    """A kernel's machine code, made once while a model needs it.

    made_from   all that the code depends on
    make        writes a function of this name into a module, and tells the rows of scratch memory
    """
    key = name, made_from
    with _lock:
        known = _compiled.get(key)
    if known is None:  # compiled beside each other, since it takes a while
        known = Compiled(name, make)
    with _lock:
        known = _compiled.setdefault(key, known)
        _recent.append(known)
    return known


_memory = threading.local()


def _scratch(size: int) -> int:
    """Address of aligned memory of this thread."""
    if getattr(_memory, "size", -1) < size:
        held = np.empty(size + _ALIGNMENT, np.uint8)
        address: int = held.ctypes.data
        _memory.held, _memory.size = held, size
        _memory.address = address + -address % _ALIGNMENT
    return _memory.address


class _Helper(threading.Thread):
    """A thread that waits for work; counters tell how far it is, queues wake the other side."""

    def __init__(self) -> None:
        super().__init__(name="kernel", daemon=True)
        self._given: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._woken: SimpleQueue[None] = SimpleQueue()
        self._asked = self._finished = 0
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        while True:
            work = self._given.get()
            try:
                work()
            except BaseException as error:
                self.error = error
            del work  # it holds the caller's memory
            self._finished += 1
            self._woken.put(None)

    def start_on(self, work: Callable[[], None]) -> None:
        while not self._woken.empty():  # of work that had ended before it was waited for
            self._woken.get()
        self._asked, self.error = self._asked + 1, None
        self._given.put(work)

    def finish(self) -> None:
        """Waits; a wait that was interrupted may be repeated."""
        while self._finished < self._asked:
            with contextlib.suppress(Empty):
                self._woken.get(timeout=1.0)


def _finish(helpers: Sequence[_Helper]) -> None:
    """Waits for all, and only then lets an interrupt through."""
    interrupt: KeyboardInterrupt | None = None
    left = list(helpers)
    while left:
        try:
            left[-1].finish()
            _idle(os.getpid()).append(left.pop())
        except KeyboardInterrupt as late:
            interrupt = late
    if interrupt is not None:
        raise interrupt


def _helper() -> _Helper | None:
    """A thread without work, None where there can be no more."""
    try:
        return _idle(os.getpid()).pop()
    except IndexError:
        pass
    try:
        return _Helper()
    except RuntimeError:  # can't start new thread
        return None


@functools.cache
def _idle(process: int) -> list[_Helper]:
    """Threads of this process without work: after a fork those of its parent are not there."""
    return []
