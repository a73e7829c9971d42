/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "long-work.h"

void
bk_long_work_tell (uint64_t done, uint64_t total, gpointer user_data)
{
  BkLongWork *work = user_data;
  __atomic_store_n (&work->total, total, __ATOMIC_RELEASE);
  __atomic_store_n (&work->done, done, __ATOMIC_RELEASE);
}

void
bk_long_work_show (BkLongWork *work, BkJobInfo *info)
{
  uint64_t done = __atomic_load_n (&work->done, __ATOMIC_ACQUIRE);
  info->bytes_total = __atomic_load_n (&work->total, __ATOMIC_ACQUIRE);
  info->bytes_transferred = MIN (done, info->bytes_total);
}
