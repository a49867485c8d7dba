#include <isa-l/crc.h>

/* Asks for the line before it is needed; Swift has no word for it. */
static inline void shim_prefetch(const void *address) { __builtin_prefetch(address); }

/* The library's routines for AVX-512 return with the upper parts of the vector registers in use:
   from there on each SSE instruction, of which Swift's own code is full, would wait for the
   registers to be split (Intel 64 and IA-32 Architectures Optimization Reference Manual, "Mixing
   AVX code with SSE code"). The library reads only; its signature lacks the const. */
static inline unsigned shim_crc32c(const unsigned char *bytes, int count, unsigned state) {
    unsigned crc = crc32_iscsi((unsigned char *)bytes, count, state);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx"))
        __asm__ volatile("vzeroupper"
                         ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                             "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#endif
    return crc;
}
