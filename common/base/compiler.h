/* The one place for GNU extensions: attributes and builtins that gcc and clang share. */
#ifndef PF_COMMON_BASE_COMPILER_H
#define PF_COMMON_BASE_COMPILER_H

#define PF_NODISCARD __attribute__((warn_unused_result))
#define PF_PRINTF(text_index, first_index) __attribute__((format(printf, text_index, first_index)))
#define PF_UNUSED __attribute__((unused))
/* For code that is fast because a caller gives it constants. */
#define PF_INLINE inline __attribute__((always_inline))
/* For loops that want all registers for themselves. */
#define PF_NOINLINE __attribute__((noinline))
/* For a thread that looks again and again at what another one writes. */
#if defined(__x86_64__)
#define PF_PAUSE() __builtin_ia32_pause()
#else
#define PF_PAUSE() ((void)0)
#endif
#define PF_VECTOR(bytes) __attribute__((vector_size(bytes)))
#define PF_CLEANUP(destroyp) __attribute__((cleanup(destroyp)))

/* PF_DEFINE_CLEANUP(struct pf_model, pf_model_destroy) defines pf_model_destroyp for PF_CLEANUP.
 * A type cannot stand in parentheses.  NOLINTBEGIN(bugprone-macro-parentheses) */
#define PF_DEFINE_CLEANUP(type, destroy)                   \
    static inline PF_UNUSED void destroy##p(type **object) \
    {                                                      \
        destroy(*object);                                  \
        *object = 0;                                       \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

#define PF_ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define PF_MIN(a, b) ((a) < (b) ? (a) : (b))
#define PF_MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
