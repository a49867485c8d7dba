#include <isa-l/crc.h>

/* Asks for the line before it is needed; Swift has no word for it. */
static inline void shim_prefetch(const void *address) { __builtin_prefetch(address); }
