#include <isa-l/crc.h>

/* Asks for the line before it is needed; Swift has no word for it. */
static inline void shim_prefetch(const void *address) { __builtin_prefetch(address); }

#if defined(__x86_64__)
/* Records are short: up to some 160 bytes the processor's own instruction, word by word, takes
   half the time of a call that sets up folding. Longer ones are the library's. */
#define SHIM_SHORT 160

__attribute__((target("sse4.2"))) static inline unsigned shim_crc32c_short(
    const unsigned char *bytes, int count, unsigned state) {
    unsigned long long sum = state;
    for (; count >= 8; bytes += 8, count -= 8) {
        unsigned long long word;
        __builtin_memcpy(&word, bytes, 8);
        sum = __builtin_ia32_crc32di(sum, word);
    }
    unsigned crc = (unsigned)sum;
    if (count & 4) {
        unsigned word;
        __builtin_memcpy(&word, bytes, 4);
        crc = __builtin_ia32_crc32si(crc, word);
        bytes += 4;
    }
    for (count &= 3; count > 0; bytes++, count--) crc = __builtin_ia32_crc32qi(crc, *bytes);
    return crc;
}
#endif

/* The library's routines for AVX-512 return with the upper parts of the vector registers in use:
   from there on each SSE instruction, of which Swift's own code is full, would wait for the
   registers to be split (Intel 64 and IA-32 Architectures Optimization Reference Manual, "Mixing
   AVX code with SSE code"). The library reads only; its signature lacks the const. */
static inline unsigned shim_crc32c(const unsigned char *bytes, int count, unsigned state) {
#if defined(__x86_64__)
    if (count <= SHIM_SHORT && __builtin_cpu_supports("sse4.2"))
        return shim_crc32c_short(bytes, count, state);
#endif
    unsigned crc = crc32_iscsi((unsigned char *)bytes, count, state);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx"))
        __asm__ volatile("vzeroupper"
                         ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                             "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#endif
    return crc;
}
