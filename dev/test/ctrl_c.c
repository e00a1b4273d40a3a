/* Presses Ctrl-C for a program on Windows: ctrl_c FILE COMMAND... starts the command, waits until FILE is
   there, sends the event, waits for the command to end and prints its exit code. */
#include <windows.h>
#include <stdio.h>
#include <string.h>

static BOOL WINAPI ignore(DWORD event) { (void)event; return TRUE; }

int main(int argc, char **argv) {
    char line[4096] = "";
    for (int i = 2; i < argc; i++) strcat(strcat(line, argv[i]), " ");
    STARTUPINFOA start = {.cb = sizeof start};
    PROCESS_INFORMATION child;
    SetConsoleCtrlHandler(ignore, TRUE);
    if (!CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &child)) return 99;
    for (int i = 0; i < 6000 && GetFileAttributesA(argv[1]) == INVALID_FILE_ATTRIBUTES; i++) Sleep(20);
    Sleep(500);
    if (!GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0)) TerminateProcess(child.hProcess, 98);
    WaitForSingleObject(child.hProcess, 120000);
    DWORD code = 97;
    GetExitCodeProcess(child.hProcess, &code);
    printf("exit code %lu\n", code);
    return (int)code;
}
