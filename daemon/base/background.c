/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "background.h"

typedef struct {
  BkWorkFunc work, done;
  gpointer data;
} Task;

static gboolean
finish (gpointer user_data)
{
  g_autofree Task *task = user_data;
  task->done (task->data);
  return G_SOURCE_REMOVE;
}

static void
run (gpointer data, gpointer user_data G_GNUC_UNUSED)
{
  Task *task = data;
  task->work (task->data);
  g_idle_add_full (G_PRIORITY_DEFAULT, finish, task, NULL);
}

void
bk_background_run (BkWorkFunc work, BkWorkFunc done, gpointer data)
{
  static GThreadPool *pool;
  if (pool == NULL)
    pool = g_thread_pool_new (run, NULL, -1, FALSE, NULL);
  Task *task = g_new (Task, 1);
  *task = (Task){ work, done, data };
  g_thread_pool_push (pool, task, NULL);
}

typedef struct {
  BkWorkFunc function;
  gpointer data;
  GMutex mutex;
  GCond cond;
  gboolean done;
} MainCall;

static gboolean
carry_out (gpointer user_data)
{
  MainCall *call = user_data;
  call->function (call->data);
  g_mutex_lock (&call->mutex);
  call->done = TRUE;
  g_cond_signal (&call->cond);
  g_mutex_unlock (&call->mutex);
  return G_SOURCE_REMOVE;
}

void
bk_main_call (BkWorkFunc function, gpointer data)
{
  MainCall call = { .function = function, .data = data };
  g_mutex_init (&call.mutex);
  g_cond_init (&call.cond);
  g_idle_add_full (G_PRIORITY_DEFAULT, carry_out, &call, NULL);
  g_mutex_lock (&call.mutex);
  while (!call.done)
    g_cond_wait (&call.cond, &call.mutex);
  g_mutex_unlock (&call.mutex);
  g_mutex_clear (&call.mutex);
  g_cond_clear (&call.cond);
}
