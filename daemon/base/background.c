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
