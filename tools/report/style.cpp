#include "tools/report/style.h"

namespace apotnet {

// The colors of the runs are told apart by people who do not see red and green as well (Okabe and Ito).
const char* const kReportStyle = R"css(
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1e21; --faint: #666b73; --rule: #dfe2e6; --panel: #f6f7f9;
  --positive: #c4561a; --negative: #1f6fb5; --bad: #c02626;
  --run0: #0b6bb0; --run1: #d0590b; --run2: #00805c; --run3: #a8457e; --run4: #8a6d00; --run5: #3d8fc7; --run6: #555; --run7: #7a3fb5; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15171a; --ink: #e4e6ea; --faint: #9aa0a8; --rule: #33373d; --panel: #1d2024;
    --positive: #f08a4b; --negative: #5fb0ef; --bad: #ff7b72;
    --run0: #5fb0ef; --run1: #f5924e; --run2: #3ec99b; --run3: #e38bbd; --run4: #d9bd4a; --run5: #9ad1f5; --run6: #bbb; --run7: #b794f4; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem clamp(.75rem, 3vw, 2rem) 3rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: .5rem 0; overflow-wrap: anywhere; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; border-top: 1px solid var(--rule); padding-top: 1rem; }
h3 { font-size: 1rem; margin: 0 0 .3rem; overflow-wrap: anywhere; } h3 small { font-weight: normal; color: var(--faint); }
p { margin: .4rem 0; max-width: 62rem; } .note, figcaption small { color: var(--faint); font-weight: normal; } .bad { color: var(--bad); }
.grid { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18.5rem), 1fr)); }
article { background: var(--panel); border: 1px solid var(--rule); border-radius: 6px; padding: .7rem .8rem; min-width: 0; }
article p { font-size: .85rem; margin: .3rem 0 0; }
figure { margin: 0; min-width: 0; } figcaption { font-weight: 600; font-size: .95rem; }
svg { display: block; width: 100%; height: auto; } .legend svg { display: inline-block; width: 22px; }
svg text { fill: var(--faint); font: 11px system-ui, sans-serif; } svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .grid { stroke: var(--rule); stroke-width: 1; } svg .stage { stroke: var(--faint); stroke-dasharray: 2 3; }
.line path { fill: none; stroke: var(--color); stroke-width: 1.8; stroke-linejoin: round; } .dashed path { stroke-dasharray: 4 3; stroke-width: 1.4; opacity: .85; }
.line circle { fill: var(--color); } .dots circle { fill: var(--paper); stroke: var(--color); stroke-width: 2; }
.bar, svg .value { fill: var(--color); }
.run0 { --color: var(--run0); } .run1 { --color: var(--run1); } .run2 { --color: var(--run2); } .run3 { --color: var(--run3); }
.run4 { --color: var(--run4); } .run5 { --color: var(--run5); } .run6 { --color: var(--run6); } .run7 { --color: var(--run7); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0 1rem; margin: .1rem 0 .2rem; padding: 0; font-size: .85rem; color: var(--faint); }
.legend li { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--rule); white-space: nowrap; } th { font-weight: 600; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.confusion td { text-align: center; min-width: 2.1rem; padding: .25rem .2rem; border: 0; } .confusion th { font-weight: normal; border: 0; padding: .2rem .4rem; text-align: right; }
.confusion thead th { writing-mode: vertical-rl; text-align: left; padding: .3rem .2rem; } .confusion .right { outline: 1px solid var(--faint); outline-offset: -1px; }
.pictures { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(7.2rem, 1fr)); } .pictures img { width: 100%; height: auto; image-rendering: pixelated; border-radius: 4px; }
.pictures figcaption { font-weight: normal; font-size: .8rem; line-height: 1.3; }
.weights { display: block; margin-top: .5rem; max-width: 100%; height: auto; image-rendering: pixelated; }
.kernel text { fill: var(--ink); font-size: 11px; } .kernel rect { stroke: var(--rule); }
.positive { fill: var(--positive); } .negative { fill: var(--negative); } .dead { stroke: var(--bad); stroke-width: 1.5; }
pre { background: var(--panel); border: 1px solid var(--rule); border-radius: 6px; padding: .8rem; overflow-x: auto; font-size: .8rem; line-height: 1.35; }
footer { margin-top: 2.5rem; color: var(--faint); font-size: .85rem; }
@media print { :root { color-scheme: light; --paper: #fff; --ink: #000; --faint: #444; --rule: #bbb; --panel: #fff;
    --positive: #c4561a; --negative: #1f6fb5; --bad: #c02626;
    --run0: #0b6bb0; --run1: #d0590b; --run2: #00805c; --run3: #a8457e; --run4: #8a6d00; --run5: #3d8fc7; --run6: #555; --run7: #7a3fb5; }
  html { font-size: 10.5px; } .scroll { overflow: visible; } th { white-space: normal; }
  figure, article, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } pre { white-space: pre-wrap; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
)css";

}  // namespace apotnet
