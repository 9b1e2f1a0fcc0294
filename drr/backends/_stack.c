/* The inner loops of the slice stack for x86-64 with AVX2 or AVX-512: the functions of numba_stack.py, argument for
 * argument, as plain C functions for ctypes. The variant is chosen at run time (stack_level), so one object serves all.
 *
 * Resampling a row needs values at irregular places, which gathers fetch slowly. Over one vector of nodes they lie in a
 * short window of the row, though, so two loads and a permutation across both fetch them all; the weights are the same
 * for the eight rows of a tile and stay in registers. Only where the window is longer than two vectors (a detector much
 * coarser than the voxels) gathers do it.
 */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 8
#define PAD 64 /* zeros before and after a row of a tile: a vector of nodes may start and end that far outside */
#define INLINE static inline __attribute__((always_inline))
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")))

static int clamped(double x, int low, int high) { return x < low ? low : x > high ? high : (int)x; }

/* int16 tile -> float rows with zeros on both sides; those before stay from the start. width is a multiple of 16. */
INLINE void unpack(const int16_t *restrict values, int apart, int width, int stride, float *restrict tile)
{
    for (int r = 0; r < ROWS; r++) {
        float *restrict row = tile + r * stride + PAD;
        for (int c = 0; c < width; c += 16)
            for (int n = 0; n < 16; n++)
                row[c + n] = values[r * apart + c + n];
        for (int n = 0; n < PAD; n++)
            row[width + n] = 0;
    }
}

/* Where node i is in a padded row: x = first + i * step, split so that float keeps its precision along a vector. */
typedef struct { int base; float rest; } place;
INLINE place locate(double first, double step, int i)
{
    double x = first + i * step + PAD;
    int base = (int)floor(x);
    return (place){base, (float)(x - base)};
}

AVX512 INLINE void resample_512(
    const float *tile, int tile_stride, double first, double step, int width, int i0, int i1, float *lines, int line_stride)
{
    const __m512 lane = _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i one = _mm512_set1_epi32(1);
    const int near = step * 15 + 2 < 32;
    for (int i = i0; i < i1; i += 16) {
        place p = locate(first, step, i);
        __m512 x = _mm512_fmadd_ps(lane, _mm512_set1_ps((float)step), _mm512_set1_ps(p.rest));
        __m512i left = _mm512_cvttps_epi32(x);
        __m512 weight = _mm512_sub_ps(x, _mm512_cvtepi32_ps(left));
        if (near) {
            __m512i right = _mm512_add_epi32(left, one);
            for (int r = 0; r < ROWS; r++) {
                const float *row = tile + r * tile_stride + p.base;
                __m512 a = _mm512_loadu_ps(row), b = _mm512_loadu_ps(row + 16);
                __m512 low = _mm512_permutex2var_ps(a, left, b), high = _mm512_permutex2var_ps(a, right, b);
                _mm512_store_ps(lines + (r + 1) * line_stride + i, _mm512_fmadd_ps(weight, _mm512_sub_ps(high, low), low));
            }
        } else {
            __m512i at = _mm512_add_epi32(left, _mm512_set1_epi32(p.base));
            at = _mm512_min_epi32(_mm512_max_epi32(at, _mm512_setzero_si512()), _mm512_set1_epi32(width + PAD + 1));
            for (int r = 0; r < ROWS; r++) {
                const float *row = tile + r * tile_stride;
                __m512 low = _mm512_i32gather_ps(at, row, 4), high = _mm512_i32gather_ps(at, row + 1, 4);
                _mm512_store_ps(lines + (r + 1) * line_stride + i, _mm512_fmadd_ps(weight, _mm512_sub_ps(high, low), low));
            }
        }
    }
}

AVX2 INLINE void resample_256(
    const float *tile, int tile_stride, double first, double step, int width, int i0, int i1, float *lines, int line_stride)
{
    const __m256 lane = _mm256_set_ps(7, 6, 5, 4, 3, 2, 1, 0);
    const int near = step * 7 + 1 < 16;
    for (int i = i0; i < i1; i += 8) {
        place p = locate(first, step, i);
        __m256 x = _mm256_fmadd_ps(lane, _mm256_set1_ps((float)step), _mm256_set1_ps(p.rest));
        __m256i left = _mm256_cvttps_epi32(x);
        __m256 weight = _mm256_sub_ps(x, _mm256_cvtepi32_ps(left));
        if (near) {
            __m256 beyond = _mm256_castsi256_ps(_mm256_cmpgt_epi32(left, _mm256_set1_epi32(7)));
            for (int r = 0; r < ROWS; r++) {
                const float *row = tile + r * tile_stride + p.base;
                __m256 low = _mm256_blendv_ps(
                    _mm256_permutevar8x32_ps(_mm256_loadu_ps(row), left),
                    _mm256_permutevar8x32_ps(_mm256_loadu_ps(row + 8), left), beyond);
                __m256 high = _mm256_blendv_ps(
                    _mm256_permutevar8x32_ps(_mm256_loadu_ps(row + 1), left),
                    _mm256_permutevar8x32_ps(_mm256_loadu_ps(row + 9), left), beyond);
                _mm256_store_ps(lines + (r + 1) * line_stride + i, _mm256_fmadd_ps(weight, _mm256_sub_ps(high, low), low));
            }
        } else {
            __m256i at = _mm256_add_epi32(left, _mm256_set1_epi32(p.base));
            at = _mm256_min_epi32(_mm256_max_epi32(at, _mm256_setzero_si256()), _mm256_set1_epi32(width + PAD + 1));
            for (int r = 0; r < ROWS; r++) {
                const float *row = tile + r * tile_stride;
                __m256 low = _mm256_i32gather_ps(row, at, 4), high = _mm256_i32gather_ps(row + 1, at, 4);
                _mm256_store_ps(lines + (r + 1) * line_stride + i, _mm256_fmadd_ps(weight, _mm256_sub_ps(high, low), low));
            }
        }
    }
}

/* Rows j0 to j1 of nodes: node j is at row + j * step of ``lines``, where rows 1 to 8 are the tile. */
INLINE void spread(
    const float *restrict lines, int line_stride, double row, double step, int j0, int j1, int i0, int i1,
    float *restrict out, int out_stride)
{
    for (int j = j0; j < j1; j++) {
        double z = row + j * step;
        int upper = (int)z;
        float lower_part = (float)(z - upper), upper_part = 1 - lower_part;
        const float *restrict a = lines + upper * line_stride, *restrict b = a + line_stride;
        float *restrict to = out + (int64_t)j * out_stride;
        for (int i = i0; i < i1; i += 16)
            for (int n = 0; n < 16; n++)
                to[i + n] += upper_part * a[i + n] + lower_part * b[i + n];
    }
}

INLINE void cubic(float t, float weight[4])
{
    float rest = 1 - t;
    weight[0] = -0.5f * t * rest * rest;
    weight[1] = 1 + t * t * (1.5f * t - 2.5f);
    weight[2] = 1 + rest * rest * (1.5f * rest - 2.5f);
    weight[3] = -0.5f * rest * t * t;
}

INLINE void warp_rows(
    const float *restrict sums, int64_t high, int64_t stride, int64_t nodes, const double *restrict h,
    const double *restrict path_mm, int parallel, float *restrict out, int64_t wide, int64_t first_row, int64_t end_row)
{
    for (int64_t i = first_row; i < end_row; i++)
        for (int64_t j = 0; j < wide; j++) {
            double depth = 1 / (h[6] + i * h[7] + j * h[8]);
            double u = (h[0] + i * h[1] + j * h[2]) * depth, v = (h[3] + i * h[4] + j * h[5]) * depth;
            double c = floor(parallel ? u + 0.5 : u), r = floor(parallel ? v + 0.5 : v);
            float total = 0;
            if (parallel) {
                if (c >= 0 && c < nodes && r >= 0 && r < high)
                    total = sums[(int64_t)r * stride + (int64_t)c];
            } else if (c >= 1 && c < nodes - 2 && r >= 1 && r < high - 2) {
                float x[4], y[4];
                cubic((float)(u - c), x);
                cubic((float)(v - r), y);
                const float *line = sums + ((int64_t)r - 1) * stride + (int64_t)c - 1;
                for (int n = 0; n < 4; n++, line += stride)
                    total += y[n] * (x[0] * line[0] + x[1] * line[1] + x[2] * line[2] + x[3] * line[3]);
            }
            double across = path_mm[1] + u * path_mm[2], along = path_mm[3] + v * path_mm[4];
            out[i * wide + j] = total * (float)sqrt(path_mm[0] * path_mm[0] + across * across + along * along);
        }
}

#define DEFINE(TARGET, LEVEL)                                                                                          \
    TARGET int splat_##LEVEL(                                                                                          \
        const int16_t *values, const int32_t *runs, const int64_t *offset, const int64_t *first, int64_t first_block,  \
        int64_t end_block, int64_t first_group, int64_t end_group, const double *columns, const double *rows,          \
        int64_t first_node, float *out, int64_t out_rows, int64_t out_stride, int64_t nodes)                           \
    {                                                                                                                  \
        int widest = 0;                                                                                                \
        for (int64_t t = first[first_block]; t < first[end_block]; t++)                                                \
            widest = runs[4 * t + 2] - runs[4 * t + 1] > widest ? runs[4 * t + 2] - runs[4 * t + 1] : widest;          \
        int tile_stride = widest + 2 * PAD + 16, line_stride = (int)out_stride;                                        \
        size_t tile_size = sizeof(float) * ROWS * tile_stride, line_size = sizeof(float) * (ROWS + 3) * line_stride;   \
        float *tile = aligned_alloc(64, (tile_size + 63) / 64 * 64);                                                   \
        float *lines = aligned_alloc(64, (line_size + 63) / 64 * 64);                                                  \
        if (!tile || !lines) {                                                                                         \
            free(tile);                                                                                                \
            free(lines);                                                                                               \
            return 1;                                                                                                  \
        }                                                                                                              \
        memset(tile, 0, tile_size);                                                                                    \
        memset(lines, 0, line_size);                                                                                   \
        for (int64_t block = first_block; block < end_block; block++)                                                  \
            for (int64_t t = first[block]; t < first[block + 1]; t++) {                                                \
                int k = runs[4 * t], start = runs[4 * t + 1], width = runs[4 * t + 2] - start;                         \
                if (k < first_group || k >= end_group)                                                                 \
                    continue;                                                                                          \
                double column = columns[2 * k] - start, per_node = columns[2 * k + 1];                                 \
                double per_row = rows[2 * k + 1], row = rows[2 * k] - block * ROWS + 1 + first_node * per_row;         \
                int i0 = clamped(ceil((-1 - column) / per_node), 0, (int)nodes);                                       \
                int i1 = clamped(floor((width - column) / per_node) + 1, 0, (int)nodes);                               \
                int j0 = clamped(ceil(-row / per_row), 0, (int)out_rows);                                              \
                int j1 = clamped(floor((ROWS + 1 - row) / per_row) + 1, 0, (int)out_rows);                             \
                if (i0 >= i1 || j0 >= j1)                                                                              \
                    continue;                                                                                          \
                i0 &= ~15; /* not before: what lies beyond the last node has no place in a row */                      \
                unpack(values + offset[t], runs[4 * t + 3], width, tile_stride, tile);                                     \
                resample_##LEVEL(tile, tile_stride, column, per_node, width, i0, (i1 + 15) & ~15, lines, line_stride); \
                spread(lines, line_stride, row, per_row, j0, j1, i0, i1, out, (int)out_stride);                        \
            }                                                                                                          \
        free(tile);                                                                                                    \
        free(lines);                                                                                                   \
        return 0;                                                                                                      \
    }                                                                                                                  \
    TARGET int warp_##LEVEL(                                                                                           \
        const float *sums, int64_t high, int64_t stride, int64_t nodes, const double *homography,                      \
        const double *path_mm, int parallel, float *out, int64_t wide, int64_t first_row, int64_t end_row)             \
    {                                                                                                                  \
        if (parallel)                                                                                                  \
            warp_rows(sums, high, stride, nodes, homography, path_mm, 1, out, wide, first_row, end_row);               \
        else                                                                                                           \
            warp_rows(sums, high, stride, nodes, homography, path_mm, 0, out, wide, first_row, end_row);               \
        return 0;                                                                                                      \
    }

DEFINE(AVX2, 256)
DEFINE(AVX512, 512)

/* The widest variant that this processor runs, in bits; 0 for none. */
int stack_level(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return 512;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? 256 : 0;
}
