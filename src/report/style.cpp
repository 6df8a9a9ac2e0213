#include "style.hpp"

namespace galapagos::report {

const char* const style_sheet = R"css(
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#5b6470;--rule:#dfe3e8;--panel:#f6f7f9;--low:#eef2f6;
--high:#0b4f79;--on:#fff;--s0:#0072b2;--s1:#d55e00;--s2:#009e73;--s3:#b8558f;--s4:#c98a00;--s5:#4a9fd0;--s6:#7a2f5a;--s7:#6e6e6e}
@media (prefers-color-scheme:dark){:root{--paper:#14171b;--ink:#e6e9ed;--soft:#9aa4b0;--rule:#2d333b;--panel:#1b1f25;
--low:#232a32;--high:#7cc4f0;--on:#0d1117;--s0:#56b4e9;--s1:#f08a4b;--s2:#2fc49a;--s3:#e39ac4;--s4:#e9b949;--s5:#9bd3f5;
--s6:#c97aa9;--s7:#a9a9a9}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
.page{max-width:1120px;margin:0 auto;padding:28px 20px 60px}
header{border-bottom:1px solid var(--rule);padding-bottom:12px;overflow-wrap:anywhere}
h1{font-size:26px;line-height:1.2;margin:0;font-weight:650;letter-spacing:-.01em}
header p,footer,.lead,.note{color:var(--soft)}
header p{margin:4px 0 0}
footer{margin-top:48px;font-size:13px}
nav{display:flex;flex-wrap:wrap;gap:4px 16px;padding:12px 0;border-bottom:1px solid var(--rule)}
nav a,nav a:visited{color:var(--s0);text-decoration:none}
nav a:hover{text-decoration:underline}
section{margin-top:34px}
h2{font-size:21px;margin:0 0 12px;font-weight:640;overflow-wrap:anywhere}
h2 small{font-weight:400;font-size:14px;color:var(--soft);margin-left:10px}
h3{font-size:16px;margin:34px 0 2px;font-weight:640}
.lead{margin:0 0 10px;max-width:78ch}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(132px,1fr));gap:10px;margin:0 0 18px}
.tiles div{background:var(--panel);border-radius:6px;padding:10px 12px}
dt{font-size:12.5px;color:var(--soft)}
dd{margin:0;font-size:21px;line-height:1.3;font-weight:600;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
dd.note{font-size:12.5px;font-weight:400}
.side{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:14px 26px;align-items:start}
figure{margin:14px 0 0;min-width:0}
figcaption{font-size:14px;font-weight:600;margin-bottom:2px}
.note{font-size:13px;margin:2px 0 0}
.scroll{overflow-x:auto;max-width:100%}
.plain svg{width:100%;height:auto;min-width:330px;max-width:640px}
.wide svg{max-width:none}
svg{display:block;font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;font-variant-numeric:tabular-nums}
svg text{fill:var(--ink)}
svg .tick{fill:var(--soft);font-size:11.5px}
svg .axis{fill:var(--soft)}
svg .on{fill:var(--on);font-size:11px}
svg .off{fill:var(--ink);font-size:11px}
.grid{stroke:var(--rule);stroke-width:1}
.base{stroke:var(--soft);stroke-width:1}
.guide{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 4}
.curve{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.faint .curve{stroke-width:1.1;opacity:.65}
.strong .curve{stroke-width:2.6}
.dashed .curve{stroke-dasharray:5 4}
.mark{fill:var(--c);stroke:var(--paper);stroke-width:1}
.faint .mark{opacity:.4;stroke:none}
.hit{fill:transparent;stroke:none}
.cell{fill:#8aa3b8;shape-rendering:crispEdges}
.replaced{fill:var(--soft)}
.arc{fill:none;stroke:var(--s0);stroke-width:1.1;opacity:.6}
.head{fill:var(--s0);opacity:.75}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:12.5px;color:var(--soft);margin:2px 0 4px}
.legend span,.legend button{display:inline-flex;align-items:center;gap:6px}
.legend button{font:inherit;color:inherit;background:none;border:0;padding:1px 0;cursor:pointer}
.legend button[aria-pressed=false]{opacity:.4;text-decoration:line-through}
.swatch{width:18px;height:10px;flex:none;display:inline-block}
.swatch.rule{height:0;border-top:2px solid var(--c,var(--s0))}
.swatch.rule.sent{border-top-width:1px}
.swatch.rule.strong{border-top-width:3px}
.swatch.rule.faint{border-top-width:1px}
.swatch.rule.dashed{border-top-style:dashed}
.swatch.dot{width:10px;border-radius:2px;background:var(--c)}
.swatch.round{border-radius:5px}
.swatch.dot.replaced{width:5px;height:5px;border-radius:3px;background:var(--soft)}
.ramp{width:110px;height:10px;display:inline-block;margin:0 6px;background:linear-gradient(90deg in oklab,var(--low),var(--high))}
table{border-collapse:collapse;font-size:13.5px;margin:10px 0 4px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:4px 18px 4px 0;border-bottom:1px solid var(--rule);vertical-align:top}
td{overflow-wrap:anywhere}
td:first-child{overflow-wrap:normal}
th{font-weight:500;color:var(--soft);white-space:nowrap}
.number{text-align:right;white-space:nowrap}
details{margin:10px 0}
summary{cursor:pointer;color:var(--soft)}
[hidden]{display:none}
#tip{position:fixed;z-index:2;pointer-events:none;background:var(--ink);color:var(--paper);font-size:12px;line-height:1.35;
padding:5px 8px;border-radius:4px;white-space:pre-line;max-width:300px}
.near{stroke:var(--ink);stroke-width:1.5}
.hit.near{fill:var(--c,var(--s0));stroke:var(--paper)}
@media (max-width:560px){.page{padding:18px 14px 40px}h1{font-size:22px}.tiles{grid-template-columns:repeat(2,1fr)}dd{font-size:18px}
svg{font-size:13px}svg .tick{font-size:13px}}
@media print{:root{--paper:#fff;--ink:#000;--panel:#f4f4f4;--soft:#444}.page{max-width:none;padding:0}
figure,tr,.tiles div{break-inside:avoid}nav,#tip{display:none}.scroll{overflow:visible}.wide svg{max-width:100%;height:auto}}
)css";

// What is nearest to the pointer shows its title at once; a click on a name of a legend hides what it names.
const char* const script = R"js(
(function(){
  var tip=document.getElementById('tip'),last=null;
  function leave(){if(last){last.classList.remove('near');last=null}tip.hidden=true}
  function show(node,event){
    if(last!==node){leave();last=node;if(node.tagName!=='rect')node.classList.add('near')}
    tip.textContent=node.tipText;
    tip.hidden=false;
    var right=event.clientX+14,width=tip.offsetWidth;
    tip.style.left=Math.max(4,(right+width>window.innerWidth ? event.clientX-14-width : right))+'px';
    tip.style.top=Math.max(4,event.clientY-tip.offsetHeight-10)+'px';
  }
  document.querySelectorAll('svg').forEach(function(svg){
    svg.querySelectorAll('title').forEach(function(title){
      title.parentNode.tipText=title.textContent;title.parentNode.setAttribute('aria-label',title.textContent);title.remove();
    });
    svg.addEventListener('pointermove',function(event){
      if(event.target.tipText){show(event.target,event);return}
      var matrix=svg.getScreenCTM(),found=null,least=484;
      svg.querySelectorAll('circle').forEach(function(circle){
        if(!circle.tipText || circle.parentNode.hasAttribute('hidden'))return;
        var x=matrix.a*circle.cx.baseVal.value+matrix.e-event.clientX,y=matrix.d*circle.cy.baseVal.value+matrix.f-event.clientY;
        if(least>x*x+y*y){least=x*x+y*y;found=circle}
      });
      if(found)show(found,event);else leave();
    });
    svg.addEventListener('pointerleave',leave);
  });
  document.querySelectorAll('.legend button').forEach(function(button){
    button.addEventListener('click',function(){
      var shown=button.getAttribute('aria-pressed')==='false';
      button.setAttribute('aria-pressed',String(shown));
      var of=button.closest('figure').querySelectorAll('g[data-series="'+button.dataset.series+'"]');
      of.forEach(function(group){if(shown)group.removeAttribute('hidden');else group.setAttribute('hidden','hidden')});
    });
  });
})();
)js";

}  // namespace galapagos::report
