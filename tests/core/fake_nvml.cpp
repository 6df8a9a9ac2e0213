// A library with NVML's names: one GPU, which has taken 250 J more whenever it is asked, and 1000 J before.

#include <cstring>

extern "C" {

int nvmlInit_v2() {
  return 0;
}

int nvmlShutdown() {
  return 0;
}

int nvmlDeviceGetHandleByUUID(const char* uuid, void** device) {
  static int gpu = 0;
  *device = &gpu;
  return std::strcmp(uuid, "GPU-1") == 0 ? 0 : 6;  // not found
}

int nvmlDeviceGetTotalEnergyConsumption(void*, unsigned long long* millijoules) {
  static unsigned long long taken = 1'000'000;
  *millijoules = taken;
  taken += 250'000;
  return 0;
}
}
