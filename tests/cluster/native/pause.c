/*
 * Waits, and reaps what is left to it. It is the first process of every pod (the sandbox's "pause" image) and of every
 * node's process namespace, where a process that ended and that nobody waited for would stay a zombie for ever.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void leave(int signal_number) {
  (void)signal_number;
  _exit(0);
}

static void reap(int signal_number) {
  (void)signal_number;
  while (waitpid(-1, 0, WNOHANG) > 0) {
  }
}

int main(void) {
  signal(SIGINT, leave);
  signal(SIGTERM, leave);
  signal(SIGCHLD, reap);
  for (;;) pause();
}
