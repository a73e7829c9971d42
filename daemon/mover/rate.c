/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rate.h"

#define BURST_S 0.1 /* what an idle bucket holds */
#define SHORTEST_WAIT_US 1000
#define PAUSED_WAIT_US (G_USEC_PER_SEC / 5) /* it may be resumed at any time */

struct BkRate {
  GMutex mutex;
  double speed;   /* bytes a second; 0 = no limit */
  double balance; /* bytes; below zero = a debt */
  int64_t filled; /* when, monotonic microseconds; 0 = never */
  bool paused;
};

BkRate *
bk_rate_new (uint64_t bytes_per_second)
{
  BkRate *rate = g_atomic_rc_box_new0 (BkRate);
  g_mutex_init (&rate->mutex);
  bk_rate_set (rate, bytes_per_second);
  return rate;
}

static void
clear (gpointer rate)
{
  g_mutex_clear (&((BkRate *)rate)->mutex);
}

BkRate *
bk_rate_ref (BkRate *rate)
{
  return g_atomic_rc_box_acquire (rate);
}

void
bk_rate_unref (BkRate *rate)
{
  g_atomic_rc_box_release_full (rate, clear);
}

void
bk_rate_set (BkRate *rate, uint64_t bytes_per_second)
{
  g_mutex_lock (&rate->mutex);
  rate->speed = (double)bytes_per_second;
  rate->balance = MAX (rate->balance, 0);
  g_mutex_unlock (&rate->mutex);
}

void
bk_rate_pause (BkRate *rate, bool paused)
{
  g_mutex_lock (&rate->mutex);
  rate->paused = paused;
  g_mutex_unlock (&rate->mutex);
}

static void
fill (BkRate *rate, int64_t now)
{
  double full = MAX (rate->speed * BURST_S, 1);
  double more = rate->filled == 0 ? full : rate->speed * (double)(now - rate->filled) / G_USEC_PER_SEC;
  rate->balance = MIN (rate->balance + MAX (more, 0), full);
  rate->filled = now;
}

int64_t
bk_rate_take (BkRate *rate, uint64_t bytes, int64_t now)
{
  int64_t wait = 0;
  g_mutex_lock (&rate->mutex);
  fill (rate, now);
  if (rate->paused)
    wait = PAUSED_WAIT_US;
  else if (rate->speed > 0 && rate->balance <= 0)
    wait = SHORTEST_WAIT_US + (int64_t)MIN (-rate->balance / rate->speed * G_USEC_PER_SEC, 1e15);
  else if (rate->speed > 0)
    rate->balance -= (double)bytes;
  g_mutex_unlock (&rate->mutex);
  return wait;
}
