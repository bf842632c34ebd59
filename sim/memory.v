// Words of memory outside, of any number: Amaranth would write out each of them. What they are at
// first is anything.
module outside_words #(parameter WIDTH = 8, parameter ADDRESS_WIDTH = 4) (
    input clk,
    input [ADDRESS_WIDTH-1:0] address,
    input write,
    input [WIDTH-1:0] word,
    output reg [WIDTH-1:0] o
);
    reg [WIDTH-1:0] contents [0:(1<<ADDRESS_WIDTH)-1];
    always @(posedge clk) begin
        if (write) contents[address] <= word;
        o <= contents[address];
    end
endmodule
