#include "made_up_run.hpp"

#include "support/files.hpp"

#include <fstream>

namespace galapagos::test {
namespace {

namespace fs = std::filesystem;

std::string assignment(int a0, int f0, int a1, int f1) {
  const auto line = [](int layer, const char* part, int level) {
    return "model.layers." + std::to_string(layer) + "." + part + "_proj: " + std::to_string(level) + "\n";
  };
  // Not in the order of the layers.
  return line(1, "mlp.down", f1) + line(0, "self_attn.o", a0) + line(0, "mlp.down", f0) +
         line(1, "self_attn.o", a1);
}

void write_begin(const fs::path& folder) {
  fs::create_directories(folder);
  write_text(
      folder / "config.ini",
      "# galapagos search\n# command line\nmodel = tiny\n# target-level is not set\n# default\nislands = 2\n"
      "# command line\ngenerations = 3\n# default\nfitness = kl\n# command line\ncalibration = a\n# command "
      "line\ncalibration = b\n");
  write_text(folder / "start.txt", assignment(1, 1, 1, 1));
  write_text(folder / "migrations.csv", "generation,from,to,fitness\n2,1,0,0.5\n2,0,1,0.75\n");
  write_text(
      folder / "metrics.jsonl",
      R"({"generation":1,"island":0,"evaluations":4,"tokens":40,"best":1.0,"mean":2.0,"rank_correlation":0.5,"surrogate_rank_correlation":null,"improved":false,"immigrants":0,"seconds":{"layers":1.5,"wait":0.5},"elapsed":10}
{"generation":1,"island":1,"evaluations":4,"tokens":40,"best":0.9,"mean":1.9,"improved":true,"immigrants":0,"seconds":{"layers":1.5,"wait":0.5},"elapsed":10}
{"generation":2,"island":0,"evaluations":8,"tokens":80,"best":0.75,"mean":1.5,"improved":true,"immigrants":0,"seconds":{"layers":1.5,"wait":0.5},"elapsed":20}
{"generation":2,"island":1,"evaluations":8,"tokens":80,"best":0.5,"mean":1.4,"improved":true,"immigrants":0,"seconds":{"layers":1.5,"wait":0.5},"elapsed":20}
)");
  write_text(
      folder / "candidates.jsonl",
      R"({"generation":1,"island":0,"stage":1,"tokens":8,"origin":"mutation","fitness":1.5,"predicted":0.4,"surrogate":0.5,"levels":[0,2,1,1]}
{"generation":1,"island":0,"stage":2,"tokens":8,"origin":"mutation","fitness":1.5,"levels":[0,2,1,1]}
{"generation":1,"island":0,"stage":2,"tokens":8,"origin":"parent","fitness":1.0,"levels":[1,1,1,1]}
{"generation":1,"island":1,"stage":1,"tokens":8,"origin":"mutation","fitness":0.9,"predicted":0.3,"surrogate":0.3,"levels":[1,1,2,0]}
{"generation":1,"island":1,"stage":2,"tokens":8,"origin":"mutation","fitness":0.9,"levels":[1,1,2,0]}
{"generation":2,"island":0,"stage":2,"tokens":8,"origin":"mutation","fitness":0.75,"levels":[0,2,1,1]}
{"generation":2,"island":1,"stage":2,"tokens":8,"origin":"mutation","fitness":0.5,"levels":[0,2,2,0]}
{"generation":2,"island":1,"stage":2,"tokens":8,"origin":"mutation","fitness":null,"levels":[2,0,2,0]}
)");
}

}  // namespace

void add_text(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::app | std::ios::binary) << text;
}

void write_half_search(const fs::path& folder) {
  write_begin(folder);
  add_text(folder / "metrics.jsonl", R"({"generation":3,"island":0,"evaluations":12,"to)");
  add_text(folder / "candidates.jsonl",
           R"({"generation":3,"island":0,"stage":2,"origin":"parent","fitness":0.1)");
}

void write_search(const fs::path& folder) {
  write_begin(folder);
  add_text(
      folder / "candidates.jsonl",
      R"({"generation":3,"island":0,"stage":2,"tokens":8,"origin":"parent","fitness":0.8,"levels":[0,2,1,1]}
{"generation":3,"island":0,"stage":2,"tokens":8,"origin":"immigrant","fitness":0.45,"levels":[0,2,2,0]}
{"generation":3,"island":1,"stage":2,"tokens":8,"origin":"parent","fitness":0.6,"levels":[0,2,2,0]}
)");
  add_text(
      folder / "metrics.jsonl",
      R"({"generation":3,"island":0,"evaluations":12,"tokens":120,"best":0.45,"mean":1.3,"improved":true,"immigrants":1,"seconds":{"layers":1.5,"wait":0.5},"elapsed":30}
{"generation":3,"island":1,"evaluations":12,"tokens":120,"best":0.6,"mean":1.3,"improved":false,"immigrants":1,"seconds":{"layers":1.5,"wait":0.5},"elapsed":30}
{"generation":3,"comparison":[0.5,0.55],"best_island":0,"fitness":0.5,"perplexity":{"held.txt":3.25}}
)");
  write_text(folder / "best.txt", assignment(0, 2, 2, 0));
  write_text(
      folder / "manifest.json",
      R"({"tool_version":"0.1.0","command":"search","ranks":4,"shards":1,"islands":2,"seed":7,"strategy":"evolution",
"start":"sensitivity","options":{"offspring":4},"generations":3,"evaluations":24,"seconds":30.0,
"best":{"fitness":0.5,"island":0,"parameters":600,"dense_parameters":1000},"rank_correlation":0.25,
"phases":{"evaluating":{"min":20,"mean":22,"max":24,"share":0.75},"waiting":{"min":2,"mean":4,"max":6,"share":0.25}},"memory":{"host":1048576}})");
  write_text(
      folder / "bill.jsonl",
      R"({"command":"search","ended":"stopped","at":"2026-11-29T10:00:00Z","seconds":18,"nodes":2,"ranks":4,"node_hours":0.01}
{"command":"search","ended":"done","at":"2026-11-29T11:00:00Z","seconds":18,"nodes":2,"ranks":4,"node_hours":0.01,"gpus":4,"gpu_hours":0.02,"joules":{"node":7200000,"gpus":3600000}}
)");
}

}  // namespace galapagos::test
