/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy.h"
#include "memory.h"
#include "suite.h"

#include <string.h>

#define KIB UINT64_C (1024)
#define MIB (1024 * KIB)
#define SOON_US (1 * G_TIME_SPAN_SECOND)

/* One copy, with its ends. */
typedef struct {
  MemoryReader *reader;
  MemorySink *sink;
  BkCopy *copy;
  GCancellable *cancellable;
  GThread *thread;
  GError *error;
  bool ok;
  gint ended; /* atomic */
} Case;

static Case *
case_new (uint64_t size, bool async, uint32_t block, const BkCopyOptions *options)
{
  Case *self = g_new0 (Case, 1);
  self->reader = memory_reader_new (size, async);
  self->sink = memory_sink_new (size, block);
  self->copy = bk_copy_new (&self->reader->reader, &self->sink->sink, options);
  self->cancellable = g_cancellable_new ();
  return self;
}

static void
case_free (Case *self)
{
  bk_copy_free (self->copy);
  bk_reader_free (&self->reader->reader);
  bk_sink_free (&self->sink->sink);
  g_object_unref (self->cancellable);
  g_clear_error (&self->error);
  g_free (self);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Case, case_free)

static gpointer
run_thread (gpointer data)
{
  Case *self = data;
  self->ok = bk_copy_run (self->copy, self->cancellable, &self->error);
  g_atomic_int_set (&self->ended, 1);
  return NULL;
}

static void
case_start (Case *self)
{
  self->thread = g_thread_new ("run", run_thread, self);
}

static void
case_join (Case *self)
{
  g_thread_join (g_steal_pointer (&self->thread));
}

static void
case_run (Case *self)
{
  case_start (self);
  case_join (self);
}

static void
assert_done (Case *self)
{
  bk_assert_no_error (self->error);
  ck_assert (self->ok);
  ck_assert_uint_eq (self->sink->finished, 1);
  BkCopyCounters counters = bk_copy_counters (self->copy);
  ck_assert (counters.total_is_known);
  ck_assert_uint_eq (counters.total, counters.transferred);
  ck_assert_uint_eq (counters.total + counters.clean, self->reader->reader.size);
  ck_assert_int_eq (memcmp (self->sink->content, self->reader->content, self->reader->reader.size), 0);
}

/* Until @reads have been made; FALSE when that takes too long. */
static bool
wait_for_reads (Case *self, unsigned reads)
{
  for (int i = 0; i < 2000; i++) {
    g_mutex_lock (&self->reader->mutex);
    bool enough = self->reader->reads >= reads;
    g_mutex_unlock (&self->reader->mutex);
    if (enough)
      return true;
    g_usleep (5000);
  }
  return false;
}

static bool
is_filled (const uint8_t *bytes, size_t n, uint8_t with)
{
  for (size_t i = 0; i < n; i++)
    if (bytes[i] != with)
      return false;
  return true;
}

/* --- what arrives --- */

START_TEST (copies_all)
{
  for (int async = 0; async < 2; async++) {
    g_autoptr (Case) c = case_new (5 * MIB + 333, async, 4096, NULL);
    case_run (c);
    assert_done (c);
    ck_assert_uint_eq (bk_copy_counters (c->copy).read, 5 * MIB + 333);
    ck_assert_uint_le (c->reader->largest, 256 * KIB);
    ck_assert (is_filled (c->sink->touched, c->sink->sink.size, 1));
  }
}
END_TEST

START_TEST (copies_nothing)
{
  g_autoptr (Case) c = case_new (0, true, 4096, NULL);
  case_run (c);
  assert_done (c);
}
END_TEST

static bool
is_all (const MemoryReader *reader, uint64_t start, uint64_t end, BkExtentKind kind)
{
  for (uint64_t i = start / UNIT; i * UNIT < end; i++)
    if (reader->kinds[i] != kind)
      return false;
  return true;
}

/* A block that is clean is neither read nor touched, one of zeroes not read; others are. */
static void
assert_blocks (const Case *self, uint64_t block)
{
  uint64_t size = self->reader->reader.size;
  for (uint64_t start = 0, end; start < size; start = end) {
    end = MIN (start + block, size);
    bool clean = is_all (self->reader, start, end, BK_EXTENT_CLEAN), zero = is_all (self->reader, start, end, BK_EXTENT_ZERO);
    bool read_right = is_filled (self->reader->was_read + start, end - start, !(clean || zero));
    bool touched_right = !self->sink->sink.wants_zeroes || is_filled (self->sink->touched + start, end - start, !clean);
    if (!read_right || !touched_right)
      ck_abort_msg ("block %lu of %lu bytes: %s", start / block, block, read_right ? "touched" : "read");
  }
}

static void
make_random_extents (MemoryReader *reader, GRand *rand, bool with_clean)
{
  uint64_t units = reader->reader.size / UNIT + 1, longest = 1u << g_rand_int_range (rand, 0, 9);
  for (uint64_t at = 0, n = 0; at < units; at += n) {
    n = (uint64_t)g_rand_int_range (rand, 1, (int)longest + 1);
    memory_reader_set_kind (reader, at, n, (BkExtentKind)g_rand_int_range (rand, 0, with_clean ? 3 : 2));
  }
}

/* What is clean is in the sink already; the rest there is old. */
static void
put_old_content (Case *self)
{
  memset (self->sink->content, 0xee, self->sink->sink.size);
  for (uint64_t start = 0, size = self->reader->reader.size; start < size; start += UNIT)
    if (self->reader->kinds[start / UNIT] == BK_EXTENT_CLEAN)
      memcpy (self->sink->content + start, self->reader->content + start, MIN (UNIT, size - start));
}

START_TEST (any_extents_any_sizes)
{
  guint32 seed = g_random_int ();
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  for (int round = 0; round < 60; round++) {
    uint64_t size = (uint64_t)g_rand_int_range (rand, 1, 1024 * 1024);
    uint32_t block = 1u << g_rand_int_range (rand, 0, 18);
    BkCopyOptions options = {
      .workers = (unsigned)g_rand_int_range (rand, 1, 8),
      .in_flight = (unsigned)g_rand_int_range (rand, 1, 8),
      .request = (size_t)g_rand_int_range (rand, 4096, 512 * 1024),
    };
    g_autoptr (Case) c = case_new (size, g_rand_boolean (rand), block, NULL);
    c->reader->reader.max_request = g_rand_boolean (rand) ? 1u << g_rand_int_range (rand, 12, 20) : 0;
    c->reader->reader.block = g_rand_boolean (rand) ? 1u << g_rand_int_range (rand, 0, 12) : 0;
    c->sink->sink.wants_zeroes = g_rand_boolean (rand);
    bk_copy_free (c->copy);
    c->copy = bk_copy_new (&c->reader->reader, &c->sink->sink, &options);
    make_random_extents (c->reader, rand, c->sink->sink.wants_zeroes);
    if (c->sink->sink.wants_zeroes)
      put_old_content (c);
    case_run (c);
    ck_assert_msg (c->ok && memcmp (c->sink->content, c->reader->content, size) == 0, "seed %u, round %d", seed, round);
    assert_done (c);
    assert_blocks (c, MAX (block, MAX (c->reader->reader.block, 1)));
  }
}
END_TEST

START_TEST (finds_zeroes)
{
  g_autoptr (Case) c = case_new (2 * MIB, true, 4096, NULL);
  memset (c->reader->content + 256 * KIB, 0, MIB);
  memset (c->sink->content, 0xee, c->sink->sink.size);
  case_run (c);
  assert_done (c);
  ck_assert_uint_eq (bk_copy_counters (c->copy).read, 2 * MIB);
  ck_assert_uint_eq (bk_copy_counters (c->copy).zero, MIB);
  ck_assert_uint_eq (c->sink->zeroes, 4); /* a piece each */
}
END_TEST

START_TEST (one_call_for_a_run_of_zeroes)
{
  g_autoptr (Case) c = case_new (64 * MIB, true, 4096, NULL);
  memory_reader_set_kind (c->reader, 0, 64 * MIB / UNIT, BK_EXTENT_ZERO);
  memset (c->sink->content, 0xee, c->sink->sink.size);
  case_run (c);
  assert_done (c);
  ck_assert_uint_eq (c->sink->zeroes, 1);
  ck_assert_uint_eq (c->reader->reads, 0);
}
END_TEST

/* A target with a tail of its own: what the disk does not have of the last block is zero, and the rest stays. */
START_TEST (larger_sink)
{
  g_autoptr (Case) c = case_new (100 * KIB + 7, true, 4096, NULL);
  bk_sink_free (&c->sink->sink);
  c->sink = memory_sink_new (200 * KIB, 4096);
  memset (c->sink->content, 0xee, 200 * KIB);
  bk_copy_free (c->copy);
  c->copy = bk_copy_new (&c->reader->reader, &c->sink->sink, NULL);
  case_run (c);
  assert_done (c);
  for (uint64_t i = 100 * KIB + 7; i < 200 * KIB; i++)
    ck_assert_uint_eq (c->sink->content[i], i < 104 * KIB ? 0 : 0xee);
}
END_TEST

START_TEST (smaller_sink)
{
  g_autoptr (Case) c = case_new (100 * KIB, true, 4096, NULL);
  bk_sink_free (&c->sink->sink);
  c->sink = memory_sink_new (96 * KIB, 4096);
  bk_copy_free (c->copy);
  c->copy = bk_copy_new (&c->reader->reader, &c->sink->sink, NULL);
  case_run (c);
  bk_assert_error (c->error, BK_ERROR_INVALID);
  ck_assert_uint_eq (c->sink->writes, 0);
}
END_TEST

/* --- memory, and who waits for whom --- */

START_TEST (bounded_in_flight)
{
  const BkCopyOptions options = { .workers = 2, .in_flight = 3, .request = 64 * KIB };
  g_autoptr (Case) c = case_new (8 * MIB, true, 4096, &options);
  c->sink->delay_us = 500;
  case_run (c);
  assert_done (c);
  ck_assert_uint_le (c->reader->most_flying, 6);
  ck_assert_uint_ge (c->reader->most_flying, 4);
  ck_assert_uint_eq (c->sink->most_at_once, 2);
}
END_TEST

START_TEST (large_blocks_bounded)
{
  g_autoptr (Case) c = case_new (64 * MIB, true, 4 * MIB, NULL);
  c->sink->delay_us = 500;
  case_run (c);
  assert_done (c);
  ck_assert_uint_eq (c->sink->writes, 16);
  ck_assert_uint_le (c->reader->most_flying * 256 * KIB, 32 * MIB);
}
END_TEST

/* Workers with a slow source or target do not use the processor. */
static void
assert_sleeps (unsigned reader_delay, unsigned sink_delay)
{
  g_autoptr (Case) c = case_new (4 * MIB, true, 4096, NULL);
  struct timespec start, end;
  c->reader->delay_us = reader_delay;
  c->sink->delay_us = sink_delay;
  gint64 begun = g_get_monotonic_time ();
  clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &start);
  case_run (c);
  clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &end);
  gint64 took = g_get_monotonic_time () - begun;
  gint64 used = (end.tv_sec - start.tv_sec) * G_TIME_SPAN_SECOND + (end.tv_nsec - start.tv_nsec) / 1000;
  assert_done (c);
  ck_assert_int_ge (took, 4 * 100000);
  ck_assert_int_lt (used, took / 2);
}

START_TEST (slow_source)
{
  assert_sleeps (100000, 0);
}
END_TEST

START_TEST (slow_target)
{
  assert_sleeps (0, 100000);
}
END_TEST

/* --- errors --- */

START_TEST (every_read_may_fail)
{
  for (unsigned n = 1; n <= 16; n++) {
    g_autoptr (Case) c = case_new (4 * MIB, n % 2, 4096, NULL);
    c->reader->fail_at = n;
    case_run (c);
    ck_assert (!c->ok);
    ck_assert_str_eq (c->error->message, "read failed");
    bk_assert_error (c->error, BK_ERROR_FAILED);
    ck_assert_uint_eq (c->sink->finished, 0);
    ck_assert (c->sink->interrupted);
  }
}
END_TEST

START_TEST (every_write_may_fail)
{
  for (unsigned n = 1; n <= 16; n++) {
    g_autoptr (Case) c = case_new (4 * MIB, n % 2, 4096, NULL);
    c->sink->fail_at = n;
    memory_reader_set_kind (c->reader, 0, MIB / UNIT, BK_EXTENT_ZERO);
    case_run (c);
    if (c->sink->writes + c->sink->zeroes < n)
      break;
    bk_assert_error (c->error, BK_ERROR_NO_SPACE);
    ck_assert_uint_eq (c->sink->finished, 0);
    ck_assert (c->reader->interrupted);
    ck_assert_uint_lt (bk_copy_counters (c->copy).transferred, 4 * MIB);
  }
}
END_TEST

START_TEST (walk_may_fail)
{
  g_autoptr (Case) c = case_new (4 * MIB, true, 4096, NULL);
  c->reader->walk_fails = 100;
  case_run (c);
  bk_assert_error (c->error, BK_ERROR_UNREACHABLE);
  ck_assert_uint_eq (c->sink->finished, 0);
}
END_TEST

START_TEST (connection_may_be_lost)
{
  g_autoptr (Case) c = case_new (4 * MIB, true, 4096, NULL);
  c->reader->lost = true;
  case_run (c);
  bk_assert_error (c->error, BK_ERROR_UNREACHABLE);
}
END_TEST

/* --- cancel, pause, speed --- */

START_TEST (cancelled_before)
{
  g_autoptr (Case) c = case_new (4 * MIB, true, 4096, NULL);
  g_cancellable_cancel (c->cancellable);
  case_run (c);
  bk_assert_error (c->error, BK_ERROR_CANCELLED);
}
END_TEST

static void
cancel_and_join (Case *self)
{
  gint64 begun = g_get_monotonic_time ();
  g_cancellable_cancel (self->cancellable);
  case_join (self);
  ck_assert_int_lt (g_get_monotonic_time () - begun, SOON_US);
  bk_assert_error (self->error, BK_ERROR_CANCELLED);
  ck_assert_uint_eq (self->sink->finished, 0);
}

START_TEST (cancel_while_the_source_hangs)
{
  for (int async = 0; async < 2; async++) {
    g_autoptr (Case) c = case_new (16 * MIB, async, 4096, NULL);
    c->reader->hang_at = 7;
    case_start (c);
    ck_assert (wait_for_reads (c, 7));
    cancel_and_join (c);
  }
}
END_TEST

START_TEST (cancel_while_the_target_hangs)
{
  g_autoptr (Case) c = case_new (16 * MIB, true, 4096, NULL);
  c->sink->hang_at = 3;
  case_start (c);
  ck_assert (wait_for_reads (c, 3));
  cancel_and_join (c);
}
END_TEST

START_TEST (cancel_while_paused_or_slow)
{
  for (int slow = 0; slow < 2; slow++) {
    g_autoptr (Case) c = case_new (16 * MIB, true, 4096, NULL);
    if (slow)
      bk_copy_set_speed (c->copy, 1);
    else
      bk_copy_pause (c->copy);
    case_start (c);
    g_usleep (50000);
    ck_assert (!g_atomic_int_get (&c->ended));
    cancel_and_join (c);
  }
}
END_TEST

START_TEST (pause_and_resume)
{
  g_autoptr (Case) c = case_new (16 * MIB, true, 4096, NULL);
  c->reader->delay_us = 2000;
  case_start (c);
  ck_assert (wait_for_reads (c, 4));
  bk_copy_pause (c->copy);
  g_usleep (400000); /* what is in flight comes to rest */
  BkCopyCounters before = bk_copy_counters (c->copy);
  ck_assert_uint_lt (before.transferred, 16 * MIB);
  g_usleep (200000);
  ck_assert_uint_eq (bk_copy_counters (c->copy).transferred, before.transferred);
  bk_copy_resume (c->copy);
  case_join (c);
  assert_done (c);
}
END_TEST

/* 16 MiB at 16 MiB/s: a second, less what the bucket holds at first, whatever the machine does more slowly. */
START_TEST (speed_holds)
{
  g_autoptr (Case) c = case_new (16 * MIB, true, 4096, NULL);
  bk_copy_set_speed (c->copy, 16 * MIB);
  gint64 begun = g_get_monotonic_time ();
  case_run (c);
  assert_done (c);
  ck_assert_int_ge (g_get_monotonic_time () - begun, 800000);
}
END_TEST

START_TEST (speed_may_change)
{
  g_autoptr (Case) c = case_new (16 * MIB, true, 4096, NULL);
  bk_copy_set_speed (c->copy, 100 * KIB);
  case_start (c);
  g_usleep (300000);
  ck_assert_uint_le (bk_copy_counters (c->copy).transferred, MIB);
  bk_copy_set_speed (c->copy, 0);
  case_join (c);
  assert_done (c);
}
END_TEST

START_TEST (two_share_a_rate)
{
  g_autoptr (BkRate) rate = bk_rate_new (16 * MIB);
  const BkCopyOptions options = { .rate = rate };
  g_autoptr (Case) a = case_new (8 * MIB, true, 4096, &options);
  g_autoptr (Case) b = case_new (8 * MIB, false, 4096, &options);
  gint64 begun = g_get_monotonic_time ();
  case_start (a);
  case_start (b);
  case_join (a);
  case_join (b);
  assert_done (a);
  assert_done (b);
  ck_assert_int_ge (g_get_monotonic_time () - begun, 800000);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    copies_all, copies_nothing, any_extents_any_sizes, finds_zeroes, one_call_for_a_run_of_zeroes, larger_sink, smaller_sink,
    bounded_in_flight, large_blocks_bounded, slow_source, slow_target, every_read_may_fail, every_write_may_fail,
    walk_may_fail, connection_may_be_lost, cancelled_before, cancel_while_the_source_hangs, cancel_while_the_target_hangs,
    cancel_while_paused_or_slow, pause_and_resume, speed_holds, speed_may_change, two_share_a_rate, NULL,
  };
  return bk_suite_run ("copy", tests);
}
