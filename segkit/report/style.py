"""How the page looks: the system's own letters, one column, by day and by night; nothing is wider than the screen."""

CSS = """
:root {
  --ground: #ffffff; --raised: #f5f6f8; --ink: #1c2128; --soft: #5c6670; --line: #dfe3e8; --accent: #1f5fa8;
  --good: #2b7a4b; --warn: #a86400; --bad: #b3261e;
  --s0: #1f5fa8; --s1: #c25a12; --s2: #2b7a4b; --s3: #7a4bb0; --s4: #b03a6a; --s5: #0f7c86; --s6: #8a6d00; --s7: #5c6670;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14181d; --raised: #1d232a; --ink: #e4e8ec; --soft: #9aa5b1; --line: #323a44; --accent: #7db4f0;
    --good: #74c796; --warn: #e2ab52; --bad: #f08a80;
    --s0: #7db4f0; --s1: #f0975a; --s2: #74c796; --s3: #b99ae8; --s4: #ea8fb4; --s5: #5fc9d2; --s6: #d6bb55; --s7: #9aa5b1;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body {
  margin: 0 auto; padding: 0 1.1rem 3rem; max-width: 66rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; overflow-wrap: anywhere;
}
header { padding-top: 2.2rem; }
.kicker { margin: 0; color: var(--soft); font-size: .8rem; letter-spacing: .08em; text-transform: uppercase; }
h1 { margin: .2rem 0 .9rem; font-size: clamp(1.5rem, 5vw, 2.2rem); line-height: 1.2; font-weight: 650; text-wrap: balance; }
h2 { margin: 0 0 .8rem; font-size: 1.3rem; line-height: 1.3; font-weight: 650; }
h3 { margin: 1.6rem 0 .5rem; font-size: 1.03rem; font-weight: 650; }
p { margin: .55rem 0; max-width: 46rem; }
ul { margin: .55rem 0; padding-left: 1.2rem; max-width: 46rem; }
a { color: var(--accent); }
.lead { font-size: 1.13rem; line-height: 1.5; }
.lead strong { font-size: 1.35rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin-top: 1.2rem; font-size: .92rem; }
nav a { padding: .35rem 0; text-decoration: none; }
section { margin-top: 2.2rem; padding-top: 1.7rem; border-top: 1px solid var(--line); }
footer { margin-top: 2.5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft); font-size: .88rem; }
.note { color: var(--soft); padding-left: .8rem; border-left: 3px solid var(--line); }
.finding { font-weight: 600; }
.scroll { max-width: 100%; overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { padding: .4rem .9rem .4rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
.number { text-align: right; }
figure { margin: 0; min-width: 0; }
figcaption { color: var(--soft); font-size: .88rem; line-height: 1.45; max-width: 40rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); gap: 1.6rem 1.8rem; margin: 1rem 0; align-items: start; }
.chart { max-width: 30rem; }
svg { display: block; width: 100%; height: auto; max-width: 30rem; }
svg text { fill: var(--soft); font-size: 11.5px; }
svg .label { fill: var(--ink); font-weight: 600; }
svg .name { fill: var(--ink); font-size: 12px; font-weight: 600; }
svg .value { fill: var(--ink); font-size: 15px; font-weight: 650; }
.end { text-anchor: end; } .middle { text-anchor: middle; }
.grid { stroke: var(--line); } .axis { stroke: var(--soft); }
.ideal { stroke: var(--soft); stroke-dasharray: 4 4; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.interval { stroke: var(--s0); stroke-width: 2; }
.pale { fill: var(--s0); opacity: .3; } .many { opacity: .6; }
.band { fill: var(--s1); opacity: .2; } .step { stroke: var(--s1); stroke-width: 2.5; }
.cell, .empty { fill: var(--raised); } .heat { fill: var(--s0); }
.grid3 { max-width: 17rem; } svg .count { fill: var(--ink); opacity: .75; }
.line.s0 { stroke: var(--s0); } .line.s1 { stroke: var(--s1); } .line.s2 { stroke: var(--s2); } .line.s3 { stroke: var(--s3); }
.line.s4 { stroke: var(--s4); } .line.s5 { stroke: var(--s5); } .line.s6 { stroke: var(--s6); } .line.s7 { stroke: var(--s7); }
.dot.s0 { fill: var(--s0); } .dot.s1 { fill: var(--s1); } .dot.s2 { fill: var(--s2); } .dot.s3 { fill: var(--s3); }
.dot.s4 { fill: var(--s4); } .dot.s5 { fill: var(--s5); } .dot.s6 { fill: var(--s6); } .dot.s7 { fill: var(--s7); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; font-size: .88rem; color: var(--soft); }
.legend span { display: inline-flex; align-items: center; gap: .4rem; }
.key { display: inline-block; width: .85rem; height: .85rem; border-radius: 3px; flex: none; }
.key.s0 { background: var(--s0); } .key.s1 { background: var(--s1); } .key.s2 { background: var(--s2); } .key.s3 { background: var(--s3); }
.key.s4 { background: var(--s4); } .key.s5 { background: var(--s5); } .key.s6 { background: var(--s6); } .key.s7 { background: var(--s7); }
.key.outline { background: #777; border: 2px solid #fff; outline: 1px solid var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: 1.4rem; margin: 1rem 0; align-items: start; }
.card { min-width: 0; padding: .8rem; background: var(--raised); border-radius: 8px; }
.card img { display: block; width: 100%; height: auto; border-radius: 4px; }
.card p { margin: .45rem 0 0; } .card .rank { display: flex; justify-content: space-between; margin: 0 0 .5rem; }
.card .facts { font-size: .86rem; color: var(--soft); line-height: 1.45; }
.card details { margin: .5rem 0 0; font-size: .86rem; } .card details img { margin-top: .5rem; }
.value { font-variant-numeric: tabular-nums; }
.file { color: var(--ink); font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .88em; }
code, pre, dt { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .88em; }
pre { padding: .8rem 1rem; background: var(--raised); border-radius: 6px; max-width: 100%; overflow-x: auto; overflow-wrap: normal; }
details { margin: .8rem 0; } summary { cursor: pointer; color: var(--accent); padding: .25rem 0; }
dl { margin: 1rem 0; } dd { margin: 0; }
.settings > div { padding: .5rem 0; border-bottom: 1px solid var(--line); }
.settings dt { color: var(--soft); } .why { color: var(--soft); font-size: .92rem; }
.found { margin: .8rem 0; padding-left: .8rem; border-left: 3px solid var(--soft); }
.found.error { border-color: var(--bad); } .found.warning { border-color: var(--warn); }
.found p { margin: .15rem 0; } .found code { color: var(--soft); }
@media (min-width: 44rem) {
  .settings > div { display: grid; grid-template-columns: 15rem 14rem 1fr; gap: 0 1.2rem; align-items: baseline; }
}
@media print { nav { display: none; } .card, figure { break-inside: avoid; } }
"""
