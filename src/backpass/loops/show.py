"""A Kernel as stable text: the same kernel prints the same bytes in every process.

Values are `%0`, `%1`, ... through the whole kernel; an access prints as `b0[3 + 8*i + j]` with the
axes named i, j, k, ... in order, the outer ones first.
"""

from __future__ import annotations

from backpass.loops.kernel import (
    Access,
    Buffer,
    Gemm,
    Indexed,
    Kernel,
    LoopKernel,
    Op,
    ScatterAdd,
    Space,
)

_AXES = "ijklmnopq"


def show(kernel: Kernel) -> str:
    """Text of a kernel, one line an op."""
    match kernel:
        case LoopKernel():
            return "\n".join(_loop_lines(kernel))
        case Gemm():
            return "\n".join(_gemm_lines(kernel))
        case ScatterAdd():
            return "\n".join(_scatter_lines(kernel))


def _axis(number: int) -> str:
    return _AXES[number] if number < len(_AXES) else f"a{number}"


def _buffer_lines(buffers: tuple[Buffer, ...]) -> list[str]:
    lines: list[str] = []
    for k, b in enumerate(buffers):
        space = " scratch" if b.space is Space.SCRATCH else ""
        lines.append(f"  b{k}: {b.dtype.name}[{b.size}]{space}{' written' if b.written else ''}")
    return lines


def _loop_lines(kernel: LoopKernel) -> list[str]:
    def axes(first: int, last: int) -> str:
        return ", ".join(f"{_axis(a)}<{kernel.extents[a]}" for a in range(first, last)) or "once"

    outer, inner = axes(0, kernel.outer), axes(kernel.outer, len(kernel.extents))
    schedule = kernel.schedule
    marks = [] if schedule.vector is None else [f"vector={_axis(schedule.vector)}"]
    marks += [f"unroll={schedule.unroll}"] if schedule.unroll != 1 else []
    marks += ["parallel"] if schedule.parallel else []
    lines = [" ".join([f"loops {kernel.name} ({outer})", *marks]) + ":"]
    lines += _buffer_lines(kernel.buffers)
    if kernel.clip is not None:
        clip = kernel.clip
        block = kernel.extents[clip.inner]
        lines.append(f"  clip {block}*{_axis(clip.outer)} + {_axis(clip.inner)} < {clip.total}")
    number = 0
    for stage in kernel.stages:
        lines.append(f"  for {inner}:" if stage.loops else "  once:")
        for op in stage.ops:
            lines.append("    " + op_text(number, op))
            number += 1
    return lines


def op_text(number: int, op: Op) -> str:
    """One op, as `%number: dtype = code(args) param`."""
    args = ", ".join(f"%{a}" for a in op.args)
    head = f"%{number}: {op.dtype.name} = {op.code}"
    match op.code:
        case "load":
            return f"{head} {access_text(op.param)}" + (f" if {args}" if args else "")
        case "load_at":
            return f"{head} {_indexed_text(op.param, op.args)}"
        case "store":
            return f"store {access_text(op.param)}, {args}"
        case "const":
            return f"{head} {op.param!r}"
        case "index":
            return f"{head} {_axis(op.param)}"
        case "acc":
            return head
        case _:
            return f"{head}({args})" + ("" if op.param is None else f" {op.param}")


def _terms(access: Access) -> list[str]:
    terms = [str(access.offset)] if access.offset else []
    for axis, stride in enumerate(access.strides):
        if stride:
            terms.append(_axis(axis) if stride == 1 else f"{stride}*{_axis(axis)}")
    return terms


def access_text(access: Access) -> str:
    """Such as `b0[3 + 8*i + j]`."""
    return f"b{access.buffer}[{' + '.join(_terms(access)) or '0'}]"


def _indexed_text(indexed: Indexed, args: tuple[int, ...]) -> str:
    terms = _terms(indexed.access)
    for arg, stride, extent in zip(args, indexed.strides, indexed.extents, strict=True):
        terms.append(f"{stride}*wrap(%{arg}, {extent})")
    return f"b{indexed.access.buffer}[{' + '.join(terms)}]"


def _gemm_lines(kernel: Gemm) -> list[str]:
    sizes = f"{kernel.batch} x ({kernel.rows}, {kernel.columns}, {kernel.depth})"
    parallel = " parallel" if kernel.parallel else ""
    parallel += f" in {kernel.bands} bands" if kernel.bands else ""
    lines = [f"gemm {kernel.name} {sizes} {kernel.dtype.name}{parallel}:"]
    lines += _buffer_lines(kernel.buffers)
    lines.append(f"  x = {access_text(kernel.x)}, y = {access_text(kernel.y)}")
    return lines + ["  " + op_text(k, op) for k, op in enumerate(kernel.epilogue)]


def _scatter_lines(kernel: ScatterAdd) -> list[str]:
    parallel = " parallel" if kernel.parallel else ""
    places = ", ".join(
        f"wrap(b{b}[n], {n})" for b, n in zip(kernel.indices, kernel.extents, strict=True)
    )
    counts = " x ".join(map(str, kernel.counts))
    target = "acc" if kernel.epilogue else f"b{kernel.out}"
    return [
        f"scatter_add {kernel.name} n<{counts}, width {kernel.width}{parallel}:",
        *_buffer_lines(kernel.buffers),
        f"  {target}[{places}, :] += {access_text(kernel.updates)}",
        *["  " + op_text(k, op) for k, op in enumerate(kernel.epilogue)],
    ]
