/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker.h"

struct BkWorker {
  void (*function) (gpointer data);
  gpointer data;
  GThread *thread;
  gint returned;
};

static gpointer
thread_main (gpointer data)
{
  BkWorker *worker = data;
  worker->function (worker->data);
  g_atomic_int_set (&worker->returned, 1);
  g_main_context_wakeup (NULL);
  return NULL;
}

BkWorker *
bk_worker_start (void (*function) (gpointer data), gpointer data)
{
  BkWorker *worker = g_new0 (BkWorker, 1);
  worker->function = function;
  worker->data = data;
  worker->thread = g_thread_new ("worker", thread_main, worker);
  return worker;
}

void
bk_worker_wait (BkWorker *worker)
{
  while (!g_atomic_int_get (&worker->returned))
    g_main_context_iteration (NULL, TRUE);
  g_thread_join (worker->thread);
  g_free (worker);
}

void
bk_worker_run (void (*function) (gpointer data), gpointer data)
{
  bk_worker_wait (bk_worker_start (function, data));
}

static gboolean
set_true (gpointer data)
{
  *(bool *)data = true;
  return G_SOURCE_REMOVE;
}

bool
bk_main_until (bool (*condition) (gpointer data), gpointer data, unsigned timeout_ms)
{
  bool late = false;
  guint timer = g_timeout_add (timeout_ms, set_true, &late);
  bool holds = condition (data);
  while (!holds && !late) {
    g_main_context_iteration (NULL, TRUE);
    holds = condition (data);
  }
  if (!late)
    g_source_remove (timer);
  return holds;
}
