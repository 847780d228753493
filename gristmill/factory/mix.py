"""The mix: what each share should have of the whole, what it has in the blend, and why the rest is missing.

    share      wanted    rows   of the whole   of the blend   supervised tokens
    reasoning  31.0 %     62         31.0 %         57.4 %              71.9 %
    agent      36.0 %      0          0.0 %          0.0 %               0.0 %   missing: software_engineering ...

`blend.total` is the size of the whole mix. What is missing leaves the blend so much smaller: the others keep their
rows, so their parts of the blend are larger than what was wanted, in their wanted proportions.
"""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from gristmill.config import validate
from schemas import Data
from schemas.blend_config import BlendConfig, Source
from schemas.factory_config import FactoryConfig

_OF_A_BLEND = set(Source.model_fields) - {"path", "weight"}


class ShareAccount(Data):
    """`wanted` and `realised` are parts of the whole mix, from 0 to 1; `rows` and `supervised_tokens` (None where the
    blend knows no tokenizer) are the blend's."""

    name: str
    wanted: float
    realised: float
    rows: int
    supervised_tokens: int | None
    missing: dict[str, str]  # the reason by source


class MixAccount(Data):
    """summary.json. `total` is that of the whole mix in the blend's `unit`."""

    total: int
    unit: str
    shares: list[ShareAccount]


def blend_config(config: FactoryConfig, there: set[str]) -> BlendConfig:
    """The blend of the sources that are `there`, as large as their parts of the whole."""
    wanted = {name: part for name, part in config.parts().items() if name in there}
    sources = [
        part.model_dump(include=_OF_A_BLEND, exclude_defaults=True)
        | {"path": part.path or str(config.out / "runs" / part.name), "weight": wanted[part.name]}
        for part in config.sources
        if part.name in there
    ]
    total = max(1, round(config.total * sum(wanted.values())))
    return validate(
        config.blend | {"out": config.out / "blend", "total": total, "sources": sources}, BlendConfig, "blend"
    )


def without_source(config: FactoryConfig) -> list[tuple[str, str, float]]:
    """(share, source, its part of the whole) of what nobody makes; a share without any source stands for itself."""
    parts = config.parts()
    known = [(part.share, part.name, parts[part.name]) for part in config.sources if part.is_missing]
    whole, served = sum(config.shares.values()), {part.share for part in config.sources}
    return known + [(name, name, weight / whole) for name, weight in config.shares.items() if name not in served]


def account(config: FactoryConfig, missing: Mapping[str, str], manifest: Mapping[str, Any]) -> MixAccount:
    """What each share has in the blend of this manifest; `missing` says why a source is not in it."""
    wanted = {name: round(config.total * part) for name, part in config.parts().items()}
    missing = {source: "no source" for _, source, _ in without_source(config)} | dict(missing)
    given = {source["name"]: source for source in manifest["sources"]}
    shares = []
    for name, weight in config.shares.items():
        own = [part.name for part in config.sources if part.share == name]
        inside = [given[source] for source in own if source in given]
        lacking = {source: missing[source] for source in own or [name] if source in missing}
        lacking |= {
            source["name"]: f"{source['realised']:,} of {wanted[source['name']]:,}"
            for source in inside
            if source["realised"] < wanted[source["name"]] - _rounding(manifest["unit"], wanted[source["name"]])
        }
        tokens = [source["supervised_tokens"] for source in inside]
        shares.append(
            ShareAccount(
                name=name,
                wanted=weight / sum(config.shares.values()),
                realised=sum(source["realised"] for source in inside) / config.total,
                rows=sum(source["rows"] for source in inside),
                supervised_tokens=None if None in tokens else sum(tokens),
                missing=lacking,
            )
        )
    return MixAccount(total=config.total, unit=manifest["unit"], shares=shares)


def _rounding(unit: str, wanted: int) -> float:
    """What a source may lack without lacking anything: a row, which is some hundredths where tokens are counted."""
    return 1 if unit == "rows" else 0.02 * wanted


def mix_table(mix: MixAccount) -> Table:
    """For the terminal: wanted beside realised, and what is missing with its reason."""
    title = f"The mix, of {mix.total:,} {mix.unit.replace('_', ' ')} in all"
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    for heading in ("share", "wanted", "realised", "rows", "of the blend's rows", "of its supervised tokens"):
        table.add_column(heading, justify="left" if heading == "share" else "right")
    rows = sum(share.rows for share in mix.shares)
    tokens = sum(share.supervised_tokens or 0 for share in mix.shares)
    for share in mix.shares:
        learned = "" if share.supervised_tokens is None or not tokens else f"{share.supervised_tokens / tokens:.1%}"
        cells = (f"{share.wanted:.1%}", f"{share.realised:.1%}", f"{share.rows:,}", f"{share.rows / rows:.1%}", learned)
        table.add_row(share.name, *cells)
    return table


def missing_lines(mix: MixAccount) -> list[str]:
    return [f"missing   {share.name}: {source}: {why}" for share in mix.shares for source, why in share.missing.items()]
