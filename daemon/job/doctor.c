/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "doctor.h"

#include "background.h"
#include "doctor-look.h"

/* Less than clients wait for an answer, and more than a VM is given to answer in the inspection and the trial. */
#define LIMIT_SECONDS 12

#define MIB (UINT64_C (1024) * 1024)
#define GIB (1024 * MIB)
#define STATE_LEAST (64 * MIB)
#define STATE_GOOD GIB
#define DEFAULT_RESERVE GIB

struct BkDoctor {
  BkCatalog *catalog;
  BkVmRegistry *vms;
  BkRepositoryRegistry *repositories;
  BkQueue *queue;
  char *state, *scratch;
  uint64_t scratch_reserve;
  GCancellable *ending;
  unsigned *away; /* how many visits have not come back; a rc box, as they may outlive us */
};

/* For workers to come back when the daemon ends: what they look at may hang. */
#define END_TIMEOUT_US (15 * G_USEC_PER_SEC)

typedef struct Round Round;

/* What one worker looks at. It belongs to the worker until that is done, and may outlive its round. */
typedef struct Visit {
  Round *round; /* NULL once nobody waits for it any more */
  char *subject;
  GPtrArray *findings;
  void (*look) (struct Visit *visit);  /* in the worker */
  void (*judge) (struct Visit *visit); /* afterwards; may be NULL */

  char *state_folder, *scratch;
  uint64_t scratch_reserve;
  GCancellable *ending;
  unsigned *away;

  BkRepositoryInfo *repository;

  BkVm *vm;
  BkVmInfo *info;
  char *instance, *agent, *job;
  GPtrArray *checkpoints;
  BkVmState *vm_state;
  GError *failure;
  bool socket_there, scratch_tried, agent_asked, agent_frozen;
  char *socket_owner, *socket_failure, *scratch_failure, *confinement, *agent_failure;
  uint64_t scratch_free;
} Visit;

/* One call of doctor. */
struct Round {
  GTask *task;
  GPtrArray *first;  /* findings that took no worker */
  GPtrArray *visits; /* Visit, not owned; NULL where it has come back */
  GPtrArray *results; /* GPtrArray of BkFinding, at the same places */
  unsigned left;
  unsigned timer;
};

/* --- visits --- */

static void
visit_free (Visit *visit)
{
  g_free (visit->subject);
  g_ptr_array_unref (visit->findings);
  g_free (visit->state_folder);
  g_free (visit->scratch);
  g_object_unref (visit->ending);
  g_rc_box_release (visit->away);
  g_clear_pointer (&visit->repository, bk_repository_info_free);
  g_clear_pointer (&visit->vm, bk_vm_unref);
  g_clear_pointer (&visit->info, bk_vm_info_free);
  g_free (visit->instance);
  g_free (visit->agent);
  g_free (visit->job);
  g_clear_pointer (&visit->checkpoints, g_ptr_array_unref);
  bk_vm_state_free (visit->vm_state);
  g_clear_error (&visit->failure);
  g_free (visit->socket_owner);
  g_free (visit->socket_failure);
  g_free (visit->scratch_failure);
  g_free (visit->confinement);
  g_free (visit->agent_failure);
  g_free (visit);
}

static Visit *
visit_new (BkDoctor *doctor, char *subject, void (*look) (Visit *visit))
{
  Visit *visit = g_new0 (Visit, 1);
  visit->subject = subject;
  visit->findings = bk_findings_new ();
  visit->look = look;
  visit->state_folder = g_strdup (doctor->state);
  visit->scratch = g_strdup (doctor->scratch);
  visit->scratch_reserve = doctor->scratch_reserve;
  visit->ending = g_object_ref (doctor->ending);
  visit->away = g_rc_box_acquire (doctor->away);
  return visit;
}

static void
look_host (Visit *visit)
{
  uint64_t state_free = 0, scratch_free = 0;
  g_autofree char *state_failure = bk_doctor_look_folder (visit->state_folder, &state_free);
  g_autofree char *scratch_failure = bk_doctor_look_folder (visit->scratch, &scratch_free);
  g_autofree char *state_remedy = g_strdup_printf ("give %s to the daemon's user %s", visit->state_folder, g_get_user_name ());
  g_autofree char *scratch_remedy = g_strdup_printf ("make the folder %s, for the daemon's user %s, or set 'scratch-dir'", visit->scratch, g_get_user_name ());
  const BkFolderFacts state = { "daemon", "state folder", visit->state_folder, state_failure, state_remedy, state_free, STATE_LEAST, STATE_GOOD,
                                "make room on its file system" };
  const BkFolderFacts scratch = { "daemon", "scratch folder", visit->scratch, scratch_failure, scratch_remedy, scratch_free, visit->scratch_reserve,
                                  2 * visit->scratch_reserve, "make room there, or set 'scratch-dir' to where there is more: no backup begins with less than 'scratch-reserve' free" };
  bk_findings_add_folder (visit->findings, &state);
  bk_findings_add_folder (visit->findings, &scratch);
  bk_doctor_look_programs (visit->findings);
}

static void
look_repository (Visit *visit)
{
  uint64_t free_bytes = 0;
  bool open = g_strcmp0 (visit->repository->state, "ok") == 0;
  g_autofree char *unwritable = open ? bk_doctor_look_folder (visit->repository->path, &free_bytes) : NULL;
  visit->repository->bytes_free = free_bytes;
  bk_findings_add_repository (visit->findings, visit->repository, unwritable);
}

static void
look_vm (Visit *visit)
{
  g_autoptr (GError) error = NULL;
  BkBackend *backend = bk_vm_backend (visit->vm);
  if (visit->info->qmp)
    visit->socket_there = bk_doctor_look_socket (visit->info->qmp, &visit->socket_owner, &visit->socket_failure);
  visit->vm_state = bk_backend_inspect (backend, visit->ending, &visit->failure);
  if (visit->vm_state == NULL || visit->vm_state->offline)
    return;
  visit->confinement = bk_doctor_look_confinement (visit->vm_state->process);
  visit->scratch_failure = bk_doctor_look_folder (visit->scratch, &visit->scratch_free);
  if (visit->scratch_failure == NULL && !bk_backend_try_scratch (backend, visit->scratch, &visit->scratch_tried, &error))
    visit->scratch_failure = g_strdup (error->message);
  visit->agent_asked = visit->agent != NULL && visit->job == NULL;
  if (visit->agent_asked)
    visit->agent_failure = bk_doctor_look_agent (visit->agent, &visit->agent_frozen);
}

/* How the link is, is known to the main thread. */
static void
judge_vm (Visit *visit)
{
  const BkVmFacts facts = {
    .vm = visit->info,
    .socket_there = visit->socket_there,
    .socket_owner = visit->socket_owner,
    .socket_failure = visit->socket_failure,
    .user = g_get_user_name (),
    .link = bk_backend_link (bk_vm_backend (visit->vm), NULL, NULL),
    .state = visit->vm_state,
    .failure = visit->failure ? visit->failure->message : NULL,
    .confinement = visit->confinement,
    .scratch = visit->scratch,
    .scratch_free = visit->scratch_free,
    .scratch_tried = visit->scratch_tried,
    .scratch_failure = visit->scratch_failure,
    .instance = visit->instance,
    .checkpoints = visit->checkpoints,
    .agent_asked = visit->agent_asked,
    .agent_busy = visit->agent ? visit->job : NULL,
    .agent_failure = visit->agent_failure,
    .agent_frozen = visit->agent_frozen,
  };
  bk_findings_add_vm (visit->findings, &facts);
}

/* --- a round --- */

static void
append (GPtrArray *all, GPtrArray *findings)
{
  g_ptr_array_extend_and_steal (all, g_ptr_array_ref (findings));
}

static void
finish_round (Round *round)
{
  BkDiagnosis *diagnosis = g_new0 (BkDiagnosis, 1);
  GPtrArray *all = g_ptr_array_new ();
  g_ptr_array_extend_and_steal (all, g_steal_pointer (&round->first));
  for (unsigned i = 0; i < round->visits->len; i++) {
    Visit *visit = round->visits->pdata[i];
    if (visit) {
      bk_findings_add_silence (round->results->pdata[i], visit->subject, LIMIT_SECONDS);
      visit->round = NULL;
    }
    append (all, round->results->pdata[i]);
  }
  diagnosis->version = g_strdup (BK_VERSION);
  diagnosis->state = g_strdup (bk_findings_state (all));
  diagnosis->findings = all;
  g_task_return_pointer (round->task, diagnosis, (GDestroyNotify)bk_diagnosis_free);
  g_clear_handle_id (&round->timer, g_source_remove);
  g_object_unref (round->task);
  g_ptr_array_unref (round->visits);
  g_ptr_array_unref (round->results);
  g_free (round);
}

static gboolean
on_limit (gpointer user_data)
{
  Round *round = user_data;
  round->timer = 0;
  finish_round (round);
  return G_SOURCE_REMOVE;
}

static void
work (gpointer data)
{
  Visit *visit = data;
  visit->look (visit);
}

static void
done (gpointer data)
{
  Visit *visit = data;
  Round *round = visit->round;
  unsigned place = 0;
  --*visit->away;
  if (round && g_ptr_array_find (round->visits, visit, &place)) {
    if (visit->judge)
      visit->judge (visit);
    round->visits->pdata[place] = NULL;
    append (round->results->pdata[place], visit->findings);
    round->left--;
  }
  visit_free (visit);
  if (round && round->left == 0)
    finish_round (round);
}

static void
begin (Round *round, Visit *visit)
{
  visit->round = round;
  g_ptr_array_add (round->visits, visit);
  g_ptr_array_add (round->results, bk_findings_new ());
  round->left++;
  ++*visit->away;
  bk_background_run (work, done, visit);
}

static void
begin_repositories (BkDoctor *doctor, Round *round)
{
  g_autoptr (GPtrArray) repositories = bk_repository_registry_list (doctor->repositories);
  for (unsigned i = 0; i < repositories->len; i++) {
    BkRepositoryInfo *info = repositories->pdata[i];
    g_autoptr (GError) gone = NULL;
    Visit *visit = visit_new (doctor, g_strconcat ("repository ", info->name, NULL), look_repository);
    visit->repository = bk_repository_registry_info (doctor->repositories, info->name, &gone);
    if (visit->repository)
      begin (round, visit);
    else
      visit_free (visit);
  }
}

static void
begin_vm (BkDoctor *doctor, Round *round, BkVm *vm, BkVmInfo *info)
{
  g_autoptr (GError) error = NULL;
  g_auto (GStrv) jobs = bk_queue_jobs_of_vm (doctor->queue, info->name);
  Visit *visit = visit_new (doctor, g_strconcat ("VM ", info->name, NULL), look_vm);
  visit->judge = judge_vm;
  visit->vm = bk_vm_ref (vm);
  visit->info = info;
  visit->instance = g_strdup (bk_catalog_instance (doctor->catalog));
  visit->agent = bk_vm_agent (vm);
  visit->job = g_strdup (jobs ? jobs[0] : NULL);
  visit->checkpoints = bk_catalog_list_checkpoints (doctor->catalog, info->name, &error);
  if (error)
    g_warning ("VM '%s': %s", info->name, error->message);
  bk_vm_recall (vm);
  begin (round, visit);
}

/* @name: NULL = all. */
static void
begin_vms (BkDoctor *doctor, Round *round, const char *name)
{
  g_autoptr (GPtrArray) infos = bk_vm_registry_list (doctor->vms);
  for (unsigned i = 0; i < infos->len; i++) {
    const char *known = ((BkVmInfo *)infos->pdata[i])->name;
    g_autoptr (GError) gone = NULL;
    g_autoptr (BkVm) vm = name && g_strcmp0 (name, known) != 0 ? NULL : bk_vm_registry_get (doctor->vms, known, &gone);
    BkVmInfo *info = vm ? bk_vm_registry_info (doctor->vms, known, &gone) : NULL;
    if (info)
      begin_vm (doctor, round, vm, info);
  }
}

/* --- what we know ourselves --- */

static int64_t
newest_in_catalog (BkCatalog *catalog)
{
  int64_t newest = 0;
  g_autoptr (GPtrArray) backups = bk_catalog_list_backups (catalog, NULL, NULL, NULL);
  g_autoptr (GPtrArray) checkpoints = bk_catalog_list_checkpoints (catalog, NULL, NULL);
  for (unsigned i = 0; backups && i < backups->len; i++)
    newest = MAX (newest, ((const BkBackupInfo *)backups->pdata[i])->point_in_time);
  for (unsigned i = 0; checkpoints && i < checkpoints->len; i++)
    newest = MAX (newest, ((const BkCheckpointInfo *)checkpoints->pdata[i])->created_at);
  return newest;
}

static GPtrArray *
look_at_ourselves (BkDoctor *doctor)
{
  GPtrArray *findings = bk_findings_new ();
  const BkJobFilter paused = { .state = "paused" };
  uint64_t next = 0;
  g_autoptr (GPtrArray) jobs = bk_queue_list_jobs (doctor->queue, &paused, &next, NULL);
  bk_findings_add_clock (findings, g_get_real_time (), newest_in_catalog (doctor->catalog));
  if (jobs)
    bk_findings_add_jobs (findings, jobs);
  return findings;
}

/* --- the doctor --- */

BkDoctor *
bk_doctor_new (BkCatalog *catalog, BkVmRegistry *vms, BkRepositoryRegistry *repositories, BkQueue *queue, const BkDoctorFolders *folders)
{
  BkDoctor *doctor = g_new0 (BkDoctor, 1);
  doctor->catalog = catalog;
  doctor->vms = vms;
  doctor->repositories = repositories;
  doctor->queue = queue;
  doctor->state = g_strdup (folders->state);
  doctor->scratch = g_strdup (folders->scratch);
  doctor->scratch_reserve = folders->scratch_reserve ? folders->scratch_reserve : DEFAULT_RESERVE;
  doctor->ending = g_cancellable_new ();
  doctor->away = g_rc_box_new0 (unsigned);
  return doctor;
}

static gboolean
on_tick (gpointer user_data G_GNUC_UNUSED)
{
  return G_SOURCE_CONTINUE;
}

/* The workers use the VMs, which go after us. */
void
bk_doctor_free (BkDoctor *doctor)
{
  int64_t end = g_get_monotonic_time () + END_TIMEOUT_US;
  g_cancellable_cancel (doctor->ending);
  unsigned tick = g_timeout_add (50, on_tick, NULL);
  while (*doctor->away > 0 && g_get_monotonic_time () < end)
    g_main_context_iteration (NULL, TRUE);
  g_source_remove (tick);
  g_rc_box_release (doctor->away);
  g_object_unref (doctor->ending);
  g_free (doctor->state);
  g_free (doctor->scratch);
  g_free (doctor);
}

void
bk_doctor_run_async (BkDoctor *doctor, const char *vm, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  g_autoptr (BkVm) known = vm ? bk_vm_registry_get (doctor->vms, vm, &error) : NULL;
  if (vm && known == NULL) {
    g_task_return_error (task, g_steal_pointer (&error));
    return;
  }
  Round *round = g_new0 (Round, 1);
  round->task = g_steal_pointer (&task);
  round->first = look_at_ourselves (doctor);
  round->visits = g_ptr_array_new ();
  round->results = g_ptr_array_new_with_free_func ((GDestroyNotify)g_ptr_array_unref);
  begin (round, visit_new (doctor, g_strdup ("daemon"), look_host));
  begin_repositories (doctor, round);
  begin_vms (doctor, round, vm);
  round->timer = g_timeout_add_seconds (LIMIT_SECONDS, on_limit, round);
}

BkDiagnosis *
bk_doctor_run_finish (BkDoctor *doctor G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}
