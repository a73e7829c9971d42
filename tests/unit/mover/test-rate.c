/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rate.h"
#include "suite.h"

#define SECOND 1000000

/* Takes pieces of @bytes, waiting as told, from @start to @end; returns what it got. */
static uint64_t
take_for (BkRate *rate, uint64_t bytes, int64_t start, int64_t end)
{
  uint64_t taken = 0;
  for (int64_t now = start; now < end;) {
    int64_t wait = bk_rate_take (rate, bytes, now);
    if (wait == 0)
      taken += bytes;
    now += wait;
  }
  return taken;
}

START_TEST (no_limit)
{
  g_autoptr (BkRate) rate = bk_rate_new (0);
  for (int i = 0; i < 100; i++)
    ck_assert_int_eq (bk_rate_take (rate, UINT64_C (1) << 40, 1), 0);
}
END_TEST

START_TEST (keeps_the_speed)
{
  static const uint64_t speeds[] = { 1000, 65536, 10000000, UINT64_C (5000000000) };
  static const uint64_t pieces[] = { 512, 65536, 4194304 };
  for (size_t i = 0; i < G_N_ELEMENTS (speeds); i++) {
    for (size_t k = 0; k < G_N_ELEMENTS (pieces); k++) {
      if (pieces[k] * 100 < speeds[i] / 1000)
        continue; /* one a millisecond is not enough for that */
      g_autoptr (BkRate) rate = bk_rate_new (speeds[i]);
      double seconds = MAX (10, 20.0 * (double)pieces[k] / (double)speeds[i]);
      double wanted = (double)speeds[i] * seconds;
      double got = (double)take_for (rate, pieces[k], SECOND, SECOND + (int64_t)(seconds * SECOND));
      ck_assert_msg (got >= 0.85 * wanted && got <= 1.1 * wanted + (double)pieces[k], "speed %lu, piece %lu: %g of %g", speeds[i],
                     pieces[k], got, wanted);
    }
  }
}
END_TEST

START_TEST (does_not_save_up)
{
  g_autoptr (BkRate) rate = bk_rate_new (1000);
  ck_assert_int_eq (bk_rate_take (rate, 1, SECOND), 0);
  uint64_t taken = take_for (rate, 10, 1000 * (int64_t)SECOND, 1001 * (int64_t)SECOND);
  ck_assert_uint_le (taken, 1200);
}
END_TEST

START_TEST (gives_nothing_while_it_is_paused)
{
  g_autoptr (BkRate) rate = bk_rate_new (0);
  bk_rate_pause (rate, true);
  ck_assert_uint_eq (take_for (rate, 1, SECOND, 3 * (int64_t)SECOND), 0);
  ck_assert_int_le (bk_rate_take (rate, 1, 4 * (int64_t)SECOND), SECOND / 2); /* so soon it is asked again */
  bk_rate_pause (rate, false);
  ck_assert_int_eq (bk_rate_take (rate, 1, 4 * (int64_t)SECOND), 0);
}
END_TEST

START_TEST (a_new_speed_forgets_debts)
{
  g_autoptr (BkRate) rate = bk_rate_new (1);
  ck_assert_int_eq (bk_rate_take (rate, 1000000, SECOND), 0);
  ck_assert_int_ge (bk_rate_take (rate, 1, SECOND), 900000 * (int64_t)SECOND);
  bk_rate_set (rate, 1000000);
  ck_assert_int_eq (bk_rate_take (rate, 1, 2 * SECOND), 0);
}
END_TEST

START_TEST (never_asks_to_spin)
{
  g_autoptr (BkRate) rate = bk_rate_new (UINT64_C (1) << 40);
  int64_t wait = 0;
  for (int i = 0; wait == 0 && i < 1000000; i++)
    wait = bk_rate_take (rate, UINT64_C (1) << 35, SECOND);
  ck_assert_int_ge (wait, 1000);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { no_limit, keeps_the_speed, does_not_save_up, gives_nothing_while_it_is_paused, a_new_speed_forgets_debts, never_asks_to_spin, NULL };
  return bk_suite_run ("rate", tests);
}
